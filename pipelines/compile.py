"""Compile the pipeline: ``python -m pipelines.compile``; ``--check`` fails if the checked-in form has drifted.

``selfemo compile`` gives it a configuration, and a directory that the forms and their manifests are written to.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import warnings
from dataclasses import fields
from pathlib import Path

import yaml

from components.images import DEFAULT, Images
from pipelines.shrink import shrink
from selfemo.config import Config
from selfemo.config.cluster import Cluster
from selfemo.errors import UserError

COMPILED = Path(__file__).parent / "compiled"
SIZES = (5, 10)
"""Rounds that a compiled form has room for."""


def compile_to(directory: Path, cluster: Cluster | None = None, images: Images = DEFAULT) -> list[Path]:
    """Write ``selfemo-5.yaml`` and ``selfemo-10.yaml``; byte-identical from run to run.

    Args:
        directory: That exists.
        cluster: What steps may use; None is a cluster without accelerators, which local runs do not look at.
        images: That steps run in.
    """
    warnings.filterwarnings("ignore")
    from kfp import compiler

    from pipelines.loop import loop

    paths = []
    for size in SIZES:
        path = directory / f"selfemo-{size}.yaml"
        compiler.Compiler().compile(loop(size, cluster or Cluster(), images), str(path))
        spec, *platform = yaml.safe_load_all(path.read_text())
        shrink(spec, platform[0] if platform else {})
        path.write_text(yaml.safe_dump_all([spec, *platform], width=1000))
        paths.append(path)
    return paths


def manifests_to(directory: Path, cluster: Cluster, images: Images) -> list[Path]:
    """Write forms, and each as Pipeline and PipelineVersion for a cluster, its version named by its content.

    Versions are immutable on a cluster: another form is another version, the same form is the same one.
    """
    paths = []
    for form in compile_to(directory, cluster, images):
        spec, *platform = yaml.safe_load_all(form.read_text())
        group = {"apiVersion": "pipelines.kubeflow.org/v2beta1"}
        shown = {k: spec["pipelineInfo"][k] for k in ("displayName", "description")}
        pipeline = {
            **group,
            "kind": "Pipeline",
            "metadata": {"name": form.stem, "namespace": cluster.namespace},
            "spec": shown,
        }
        version = {
            **group,
            "kind": "PipelineVersion",
            "metadata": {"name": version_of(form), "namespace": cluster.namespace},
            "spec": {
                "pipelineName": form.stem,
                **shown,
                "displayName": version_of(form),
                "pipelineSpec": spec,
                **({"platformSpec": platform[0]} if platform else {}),
            },
        }
        path = directory / f"{form.stem}-manifest.yaml"
        path.write_text(yaml.safe_dump_all([pipeline, version], width=1000))
        paths += [form, path]
    return paths


def overlay_to(overlay: Path) -> Path:
    """Write ``pipeline.yaml`` of an overlay: the form its configuration needs, with the images it names.

    Kustomize's own image replacement does not reach into a PipelineVersion, so images are baked in here.

    Args:
        overlay: Directory with ``config.yaml`` and ``kustomization.yaml``.

    Raises:
        UserError: If an image is not named.
    """
    from selfemo import config as configuration

    config = configuration.load(overlay / "config.yaml")
    images = images_of(overlay)
    with tempfile.TemporaryDirectory() as directory:
        made = manifests_to(Path(directory), config.cluster, images)
        form = form_for(config.loop.rounds, Path(directory))
        text = next(p for p in made if p.name == f"{form.stem}-manifest.yaml").read_text()
    waves = {"Pipeline": "0", "PipelineVersion": "1"}
    objects = list(yaml.safe_load_all(text))
    for one in objects:
        one["metadata"]["annotations"] = {"argocd.argoproj.io/sync-wave": waves[one["kind"]]}
    head = (
        "# Written by `make compile` from config.yaml and kustomization.yaml's images; `make manifests` finds drift.\n"
    )
    path = overlay / "pipeline.yaml"
    path.write_text(head + yaml.safe_dump_all(objects, width=1000))
    return path


def images_of(overlay: Path) -> Images:
    """The images that an overlay's ``kustomization.yaml`` names.

    Raises:
        UserError: If one is not named.
    """
    kustomization = overlay / "kustomization.yaml"
    named = {image["name"]: image for image in yaml.safe_load(kustomization.read_text()).get("images", [])}
    found = {}
    for kind in (field.name for field in fields(Images)):
        ours = f"selfemo/{kind}-python"
        if ours not in named:
            raise UserError(f"no image {ours}", where=str(kustomization), fix="name it under images:")
        image = named[ours]
        at = f"@{image['digest']}" if "digest" in image else f":{image['newTag']}"
        found[kind] = image.get("newName", ours) + at
    return Images(**found)


def version_of(form: Path) -> str:
    """Name of the version of a form: a hash of its content."""
    return f"{form.stem}-{hashlib.sha256(form.read_bytes()).hexdigest()[:12]}"


def form_for(rounds: int, directory: Path = COMPILED) -> Path:
    """The smallest form with room for so many rounds: the checked-in one, or that of another directory."""
    size = next(s for s in SIZES if s >= rounds)
    return directory / f"selfemo-{size}.yaml"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the checked-in form instead of writing it")
    parser.add_argument("--config", type=Path, help="a configuration, as JSON; its cluster section counts")
    parser.add_argument("--out", type=Path, help="directory for forms and manifests")
    parser.add_argument("--overlay", type=Path, help="directory of manifests/overlays whose pipeline.yaml is written")
    given = parser.parse_args()
    if given.overlay:
        try:
            print(overlay_to(given.overlay))
        except UserError as error:
            print(f"pipelines.compile: {error}", file=sys.stderr)
            return 2
        return 0
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        cluster = Config.from_json(given.config.read_text()).cluster if given.config else Cluster()
        print(*manifests_to(given.out, cluster, Images.from_environment()), sep="\n")
        return 0
    if not given.check:
        COMPILED.mkdir(exist_ok=True)
        print(*compile_to(COMPILED), sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        drifted = [p.name for p in compile_to(Path(directory)) if p.read_bytes() != (COMPILED / p.name).read_bytes()]
    if drifted:
        print(f"pipelines/compiled: {', '.join(drifted)} drifted; run `make compile`", file=sys.stderr)
    return bool(drifted)


if __name__ == "__main__":
    sys.exit(main())
