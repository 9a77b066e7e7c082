"""Compile the pipeline: ``python -m pipelines.compile``; ``--check`` fails if the checked-in form has drifted.

``selfemo compile`` gives it a configuration, and a directory that the forms and their manifests are written to.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.images import DEFAULT, Images
from pipelines import forms
from pipelines.admission import admit
from pipelines.shrink import shrink
from pipelines.size import LIMIT, fitting, kilobytes
from selfemo.config import Config
from selfemo.config.cluster import ClusterSettings
from selfemo.errors import Exit
from selfemo.places import temporary
from selfemo.unexpected import told

COMPILED = Path(__file__).parent / "compiled"
SIZES = (5, 10)
"""Rounds that the checked-in forms have room for."""


def compile_to(
    directory: Path, cluster: ClusterSettings | None = None, images: Images = DEFAULT, sizes: Sequence[int] = SIZES
) -> list[Path]:
    """Write a form for each size, such as ``selfemo-5.yaml``; byte-identical from run to run.

    Args:
        directory: That exists.
        cluster: What steps may use; None is a cluster without accelerators, which local runs do not look at.
        images: That steps run in.
        sizes: Rounds that each has room for. A round that is compiled and not wanted costs a cluster two minutes of
            pods that only pass the state on.
    """
    warnings.filterwarnings("ignore")
    from kfp import compiler

    from pipelines.loop import loop

    paths = []
    for size in sizes:
        path = directory / f"selfemo-{size}.yaml"
        compiler.Compiler().compile(loop(size, cluster or ClusterSettings(), images), str(path))
        spec, *platform = forms.parse(path.read_text())
        shrink(spec, platform[0] if platform else {})
        path.write_text(forms.dump([spec, *platform]))
        paths.append(path)
    return paths


def manifests_to(directory: Path, cluster: ClusterSettings, images: Images) -> list[Path]:
    """Write forms, and each as Pipeline and PipelineVersion for a cluster, its version named by its content.

    Versions are immutable on a cluster: another form is another version, the same form is the same one.
    """
    paths = []
    for form in compile_to(directory, cluster, images):
        path = directory / f"{form.stem}-manifest.yaml"
        path.write_text(forms.dump(resources_of(form, cluster.namespace)))
        paths += [form, path]
    return paths


def resources_of(form: Path, namespace: str) -> list[dict[str, Any]]:
    """Pipeline and PipelineVersion of a form, for Kubeflow's Kubernetes-native store.

    The client looks a pipeline up by its display name, so that it is the name.
    """
    spec, *platform = forms.parse(form.read_text())
    group = {"apiVersion": "pipelines.kubeflow.org/v2beta1"}
    name, version = spec["pipelineInfo"]["name"], version_of(form)
    described = {"description": spec["pipelineInfo"]["description"]}
    return [
        {
            **group,
            "kind": "Pipeline",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"displayName": name, **described},
        },
        {
            **group,
            "kind": "PipelineVersion",
            "metadata": {"name": version, "namespace": namespace},
            "spec": {
                "pipelineName": name,
                "displayName": version,
                **described,
                "pipelineSpec": spec,
                **({"platformSpec": platform[0]} if platform else {}),
            },
        },
    ]


def version_of(form: Path) -> str:
    """Name of the version of a form: the pipeline's name, and a hash of what the form says.

    Neither the file's name nor a comment in it counts.
    """
    spec, *platform = forms.parse(form.read_text())
    content = json.dumps([spec, *platform], sort_keys=True)
    return f"{spec['pipelineInfo']['name']}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def growth_of(config: Config) -> list[str]:
    """What becomes of the Workflow in each form that has room for a configuration's rounds, a line each.

    The configuration's own rounds are what its run has; but a run may be submitted with more, as many as the form has.

    Raises:
        UserError: If a run of the smallest of these forms, as it is configured, is too large for a cluster.
    """
    said: list[str] = []
    shards = config.launch.shards
    for room in (most for most in SIZES if most >= config.loop.rounds):
        if not said:
            said.append(f"selfemo-{room}: {admit(config, room)}")
        most = fitting(shards, room, room)
        full = f"with all of its rounds, some {kilobytes(room, shards):.0f} of {LIMIT} KB"
        said.append(f"selfemo-{room}: {full}" + ("" if most == room else f", which is too large: play {most} or fewer"))
    return said


def form_for(rounds: int) -> Path:
    """The smallest checked-in form with room for so many rounds."""
    return COMPILED / f"selfemo-{next(s for s in SIZES if s >= rounds)}.yaml"


def main() -> int:
    """Entry point."""
    try:
        return _main()
    except Exception as error:
        words, code = told(error)
        print(words, file=sys.stderr)
        return code


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the checked-in form instead of writing it")
    parser.add_argument("--config", type=Path, help="a configuration, as JSON; its cluster section is compiled in")
    parser.add_argument("--out", type=Path, help="directory for forms and manifests")
    parser.add_argument("--overlay", type=Path, help="directory of manifests/overlays that is compiled")
    given = parser.parse_args()
    if given.overlay:
        from pipelines.overlay import overlay_to

        print(*overlay_to(given.overlay), sep="\n")
        return Exit.DONE
    if given.out:
        cluster = ClusterSettings()
        if given.config:
            config = Config.from_json(given.config.read_text(encoding="utf-8"))
            cluster = config.cluster
            print(*growth_of(config), sep="\n", file=sys.stderr)
        given.out.mkdir(parents=True, exist_ok=True)
        print(*manifests_to(given.out, cluster, Images.from_environment()), sep="\n")
        return Exit.DONE
    if not given.check:
        COMPILED.mkdir(exist_ok=True)
        print(*compile_to(COMPILED), sep="\n")
        return Exit.DONE
    with temporary("form") as directory:
        drifted = [p.name for p in compile_to(directory) if p.read_bytes() != (COMPILED / p.name).read_bytes()]
    if drifted:
        print(f"pipelines/compiled: {', '.join(drifted)} drifted; run `make compile`", file=sys.stderr)
    return Exit.NO if drifted else Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
