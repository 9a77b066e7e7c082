"""Check every overlay offline: ``python -m manifests.check``; exit code 1 and a line for each finding.

Built by kustomize, validated against the schemas of core kinds and of custom resources with unknown fields refused;
every ConfigMap, Secret, ServiceAccount, claim, priority and queue that is named exists; images have digests or tags;
what GitOps applies waits for nothing that comes later; what is compiled is what values and settings give; no value is
left unset; no pod gets a sidecar, or disk without a bound; all accounts pull images with a secret, or none does; YAML
is tidy. `make manifests` adds a policy scan.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from manifests.objects import Json, build, name_of, pods, templates, unresolved
from manifests.order import argo, flux
from manifests.schemas import against_schemas
from selfemo.errors import Exit
from selfemo.places import temporary

HERE = Path(__file__).resolve().parent
SCHEMAS = Path(os.environ.get("SELFEMO_SCHEMAS") or HERE.parents[1] / "shared" / "schemas")
"""JSON Schemas of custom resources, GROUP_VERSION_KIND.json."""
WANT_GPUS = {"../../components/kueue", "../../components/trainer"}
"""Components that name what only cluster-gpu has."""


def overlays(place: Path) -> dict[str, str]:
    """All overlays, yours too, each with the cluster-scoped objects that it names.

    Args:
        place: Directory of the manifests.
    """
    found = {}
    for file in sorted((place / "overlays").glob("*/kustomization.yaml")):
        taken = yaml.safe_load(file.read_text(encoding="utf-8")).get("components") or []
        found[file.parent.name] = "cluster" if WANT_GPUS.isdisjoint(taken) else "cluster-gpu"
    return found


OVERLAYS = overlays(HERE)
GITOPS = ("gitops/argocd", "gitops/argocd/apps", "gitops/flux", "gitops/flux-native")
FLUX = {"gitops/flux", "gitops/flux-native"}
TARGETS = ("cluster", "cluster-gpu", *(f"overlays/{o}" for o in OVERLAYS), *GITOPS)
COMPILED = ("config.yaml", "form.yaml", "release.yaml", "native/pipeline.yaml", "native/kustomization.yaml")
"""Of an overlay, what `make compile` writes."""


def images(objects: list[Json], by_digest: bool) -> Iterator[str]:
    """Images that are named loosely, or that stand for nothing an image of ours replaces."""
    for one in objects:
        found = [c.get("image") for pod in pods(one) for c in [*pod["containers"], *pod.get("initContainers", [])]]
        if one["kind"] == "PipelineVersion":
            executors = one["spec"]["pipelineSpec"]["deploymentSpec"]["executors"].values()
            found += [e["container"]["image"] for e in executors if "container" in e]
        for image in filter(None, found):
            if by_digest and "@sha256:" not in image:
                yield f"{name_of(one)}: image {image} is not named by digest"
            elif "@" not in image and (":" not in image.rpartition("/")[2] or image.endswith(":latest")):
                yield f"{name_of(one)}: image {image} has no version"


def unset(objects: list[Json]) -> Iterator[str]:
    """Fields that were to be written from values.yaml, and were not."""
    for one in objects:
        if "set-from-" in str(one):
            yield f"{name_of(one)}: a value is left unset: no replacement writes it"


def in_a_mesh(objects: list[Json]) -> Iterator[str]:
    """Pods that Istio gives a sidecar where the namespace asks for one in all, as that of a Profile does.

    Kubeflow's steps have none, and what has one lets in nobody who has not.
    """
    for one in objects:
        if one["kind"] != "ServingRuntime":  # its pods are the InferenceService's
            for _, labels in templates(one):
                if labels.get("sidecar.istio.io/inject") != "false":
                    yield f'{name_of(one)}: a pod without the label sidecar.istio.io/inject: "false"'


def unbounded(objects: list[Json]) -> Iterator[str]:
    """Directories on a node's own disk that may grow until the node evicts others."""
    for one in objects:
        for volume in (v for pod in pods(one) for v in pod.get("volumes", [])):
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
                yield f"{name_of(one)}: volume {volume['name']} has no sizeLimit"


def without_a_login(objects: list[Json]) -> Iterator[str]:
    """Accounts whose pods pull with no secret where those of others have one: a component came after it."""
    accounts = [one for one in objects if one["kind"] == "ServiceAccount"]
    if any(account.get("imagePullSecrets") for account in accounts):
        for account in accounts:
            if not account.get("imagePullSecrets"):
                yield f"{name_of(account)}: has no imagePullSecrets, and others have: list image-pull-secret last"


def drifted(overlay: Path) -> Iterator[str]:
    """Files that are not what values, settings and components give."""
    with temporary("manifests") as directory:
        place = directory / overlay.name
        shutil.copytree(overlay, place)
        command = [sys.executable, "-m", "pipelines.compile", "--overlay", str(place)]
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"{overlay.name}/config.yaml: {done.stderr.strip()}"
            return
        for name in COMPILED:
            there = overlay / name
            if not there.is_file() or (place / name).read_bytes() != there.read_bytes():
                yield f"{overlay.name}/{name}: drifted; run `make compile`"


def untidy(place: Path) -> Iterator[str]:
    """What yamllint finds."""
    rules = YamlLintConfig(file=str(HERE / ".yamllint"))
    for file in sorted(place.rglob("*.yaml")):
        if not rules.is_file_ignored(str(file)):
            for problem in linter.run(file.read_text(encoding="utf-8"), rules, str(file)):
                yield f"{file}:{problem.line}:{problem.column}: [{problem.level}] {problem.message}"


def check(place: Path = HERE, schemas: Path = SCHEMAS, targets: Sequence[str] = TARGETS) -> list[str]:
    """All findings, each a line.

    Args:
        place: A manifests directory.
        schemas: Of custom resources.
        targets: Only these kustomizations, and what an overlay among them needs of the cluster.
    """
    findings = list(untidy(place))
    overlays = [o for o in OVERLAYS if f"overlays/{o}" in targets]
    built: dict[str, list[Json]] = {}
    for target in dict.fromkeys((*(OVERLAYS[o] for o in overlays), *targets)):
        try:
            built[target] = build(place / target)
        except RuntimeError as error:
            findings.append(f"{target}: {error}")
    for target, objects in built.items():
        shared = built.get(OVERLAYS.get(target.rpartition("/")[2], target), [])
        found = [*against_schemas(objects, schemas), *unresolved(objects, shared), *unset(objects)]
        found += [*in_a_mesh(objects), *unbounded(objects), *without_a_login(objects)]
        found += images(objects, by_digest=target in ("overlays/staging", "overlays/prod"))
        findings += [f"{target}: {line}" for line in found]
    for overlay in overlays:
        findings += drifted(place / "overlays" / overlay)
        findings += [f"overlays/{overlay}: {line}" for line in argo(built.get(f"overlays/{overlay}", []))]
    for way in FLUX & set(targets):
        findings += [f"{way}: {line}" for line in flux(place, built.get(way, []))]
    return findings


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="also write what was built there, a file a target, for other scanners")
    given = parser.parse_args()
    if not SCHEMAS.is_dir():
        print(f"no schemas of custom resources at {SCHEMAS}\n  fix: set SELFEMO_SCHEMAS", file=sys.stderr)
        return Exit.BAD_INPUT
    findings = check()
    print(*findings, sep="\n", end="\n" if findings else "")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        for target in TARGETS:
            (given.out / f"{target.replace('/', '-')}.yaml").write_text(yaml.safe_dump_all(build(HERE / target)))
    print(f"{len(TARGETS)} kustomizations, {len(findings)} findings", file=sys.stderr)
    return Exit.NO if findings else Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
