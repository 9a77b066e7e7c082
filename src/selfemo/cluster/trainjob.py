"""A training step as a TrainJob of Kubeflow Trainer (trainer.kubeflow.org/v1alpha1, Trainer 2.2 or later)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from selfemo.config import Config
from selfemo.config.cluster import CA_DIRECTORY

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
HASH = "selfemo/spec-hash"
"""Annotation: what a job was made from, so that another spec under its name is noticed."""
NODE = "node"
"""Name that Trainer's torch runtimes give the replicated job of the workers and their container."""
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
"""What a pod takes from the configured Secret, as far as it has them."""
CONFIG = "SELFEMO_CONFIG_JSON"
"""Variable in which a pod finds its configuration."""
WORKDIR = "/work"
"""Where pods may write."""
POD_LABELS = {"app.kubernetes.io/component": "train", "sidecar.istio.io/inject": "false"}
"""Of a TrainJob's pods, whichever runtime they are made from: by the first network policies let them find each other;
by the second Istio gives them no sidecar, as Kubeflow's steps have none, also where a namespace asks for one in all."""

Json = dict[str, Any]


def job_name(run: str, step: str, round: int, key: str) -> str:
    """A name for each run, round and inputs: DNS labels of at most 63 characters, and pods' names are longer still.

    Args:
        run: Name of the run.
        step: ``warmup`` or ``train``.
        round: Its number.
        key: Of the step's inputs and configuration: the same step again is the same job.
    """
    tail = f"-{step}-{round}-{key[:8]}"
    head = "".join(c if c.isalnum() else "-" for c in run.lower())[: 40 - len(tail)].strip("-")
    return f"{head or 'run'}{tail}"


def manifest(
    config: Config,
    name: str,
    image: str,
    arguments: Sequence[str],
    *,
    environment: dict[str, str],
    owner: tuple[str, str] | None = None,
) -> Json:
    """The TrainJob that trains as configured.

    Args:
        config: Sections ``cluster`` and ``launch``; the job is given all of it.
        name: Of :func:`job_name`.
        image: The training image, by digest.
        arguments: The command line after ``selfemo``.
        environment: Plain variables; nothing secret.
        owner: Name and uid of the pod that waits for it: when that pod is removed, so is the job.
    """
    cluster = config.cluster
    pod = cluster.pods.train
    resources: Json = {"cpu": pod.cpu, "memory": pod.memory}
    cpu, memory = pod.requests
    if pod.accelerators:
        resources[pod.accelerator] = str(pod.accelerators)
    resources |= {name: str(count) for name, count in sorted(cluster.devices.items())}
    env: list[Json] = [{"name": k, "value": v} for k, v in sorted({**cluster.variables, **environment}.items())]
    if cluster.secret:
        keys = ({"name": cluster.secret, "key": k, "optional": True} for k in KEYS)
        env += [{"name": k["key"], "valueFrom": {"secretKeyRef": k}} for k in keys]
    spec: Json = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "ClusterTrainingRuntime", "name": cluster.runtime},
        "activeDeadlineSeconds": pod.minutes * 60,
        "trainer": {
            "image": image,
            # The runtime says how many nodes and processes there are in PET_* variables, which torchrun reads.
            "command": ["python", "-m", "torch.distributed.run", "-m", "selfemo"],
            "args": list(arguments),
            "env": env,
            "numNodes": cluster.nodes,
            "numProcPerNode": config.launch.processes,
            "resourcesPerNode": {"requests": resources | {"cpu": cpu, "memory": memory}, "limits": resources},
        },
        "runtimePatches": [{"manager": "selfemo/launcher", "trainingRuntimeSpec": _patch(config)}],
    }
    labels = {
        "app.kubernetes.io/name": "selfemo",
        "app.kubernetes.io/component": "train",
        "selfemo/run": label(config.run),
    }
    if pod.queue:
        labels["kueue.x-k8s.io/queue-name"] = pod.queue
    metadata: Json = {
        "name": name,
        "namespace": cluster.namespace,
        "labels": labels,
        "annotations": {HASH: spec_hash(spec)},
    }
    if owner:
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": owner[0], "uid": owner[1]}]
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": metadata, "spec": spec}


def _patch(config: Config) -> Json:
    """What the runtime's pods are changed in: labels, account, place, memory they share, authorities, checkpoints."""
    cluster = config.cluster
    pod = cluster.pods.train
    volumes: list[Json] = []
    mounts: list[Json] = []
    if pod.shm:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shm}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    disk: Json = {"emptyDir": {"sizeLimit": pod.disk} if pod.disk else {}}
    claim = {"persistentVolumeClaim": {"claimName": cluster.volume}} if cluster.volume else disk
    volumes.append({"name": "work", **claim})
    mounts.append({"name": "work", "mountPath": WORKDIR})
    if cluster.ca_bundle:
        volumes.append({"name": "ca", "configMap": {"name": cluster.ca_bundle}})
        mounts.append({"name": "ca", "mountPath": CA_DIRECTORY, "readOnly": True})
    containers = [{"name": NODE, "volumeMounts": mounts}]
    spec: Json = {"serviceAccountName": cluster.service_account, "volumes": volumes, "containers": containers}
    if pod.node_selector:
        spec["nodeSelector"] = dict(pod.node_selector)
    if pod.tolerations:
        spec["tolerations"] = [{k: v for k, v in t.model_dump().items() if v} for t in pod.tolerations]
    pods: Json = {"metadata": {"labels": dict(POD_LABELS)}, "spec": spec}
    job = {"name": NODE, "template": {"spec": {"template": pods}}}
    return {"template": {"spec": {"replicatedJobs": [job]}}}


def label(value: str) -> str:
    """A run's name as the value of a label."""
    return value[:63].strip("-_.")


def spec_hash(spec: Json) -> str:
    """Of a spec as it is asked for; what the cluster fills in is not in it."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def ending(job: Json) -> Json | None:
    """The condition by which a job has ended: Complete, or Failed with its reason; None while it has not."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), None)


def suspended(job: Json) -> bool:
    """Whether it waits in a queue."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Suspended" and c["status"] == "True" for c in conditions)
