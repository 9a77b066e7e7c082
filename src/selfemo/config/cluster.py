"""What steps may use on a cluster: pods by kind of step, and the profiles that fill them in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from selfemo import addresses
from selfemo.config.quantity import Cpu, Memory
from selfemo.config.section import Section

NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""A DNS label."""

TRAINER = "SELFEMO_TRAINER"
"""Variable in which a compiled pipeline tells a training step for which ``cluster.trainer`` its pod was made."""


CA_DIRECTORY = "/etc/selfemo-ca"
"""Where a pod finds ``cluster.ca_bundle``."""
CA_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "GIT_SSL_CAINFO")
"""By which boto3, requests, OpenSSL and Git are told."""


_SECRET = re.compile(r"(^|_)(secret|token|password|access_key|api_key)(_|$)", re.IGNORECASE)


class Toleration(Section):
    """A taint that a pod puts up with."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"

    @model_validator(mode="after")
    def _compared(self) -> Self:
        if bool(self.value) != (self.operator == "Equal"):
            raise ValueError("operator Equal compares with a value, Exists has none")
        return self


class Pod(Section):
    """What the pod of a step asks for and is limited to, and where it may run."""

    cpu: Cpu = "1"
    """Most of it, and what is asked for where cpu_request does not say less."""
    memory: Memory = "2Gi"
    """Most of it, and what is asked for where memory_request does not say less."""
    cpu_request: Cpu | Literal[""] = ""
    """What the scheduler sets aside; empty is all of cpu. A node of two cores has no two to set aside."""
    memory_request: Memory | Literal[""] = ""
    """What the scheduler sets aside; empty is all of memory."""
    accelerator: str = Field("nvidia.com/gpu", min_length=1)
    """Resource name of the accelerators."""
    accelerators: int = Field(0, ge=0)
    """How many."""
    shm: Memory | Literal[""] = ""
    """Size of /dev/shm, out of the memory: processes that train together need more than the 64 MiB there are."""
    disk: Memory | Literal[""] = ""
    """Most that /work may hold on the node's own disk: a pod that writes more is evicted; empty is no bound."""
    node_selector: dict[str, str] = Field({})
    """Labels that its node must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of nodes that it puts up with: key, operator (Exists or Equal), value, effect, as in Kubernetes."""
    queue: str = Field("", pattern=rf"{NAME}|^$")
    """Kueue's LocalQueue; empty is none."""
    minutes: int = Field(60, ge=1)
    """After which the step has failed."""

    @property
    def requests(self) -> tuple[str, str]:
        """CPU and memory that are set aside."""
        return self.cpu_request or self.cpu, self.memory_request or self.memory


class Pods(Section):
    """The four kinds of steps."""

    light: Pod
    """Prepare, filter, decide, carry, report, and what waits for a TrainJob: these never hold an accelerator."""
    generate: Pod
    """Self-play."""
    evaluate: Pod
    """Evaluation of a policy."""
    train: Pod
    """Warm-up and SELF-GRPO; of a TrainJob, each node."""

    @field_validator("light")
    @classmethod
    def _no_accelerator(cls, light: Pod) -> Pod:
        if light.accelerators:
            raise ValueError("light steps hold no accelerator; set accelerators: 0")
        return light


# /work has room for twice what a step is reckoned to write, so that one that runs wild is evicted, and not its
# neighbours: corpora and predictions; the weights of a few policies; of training, three checkpoints of up to 16 bytes a
# parameter besides.
_LIGHT = {"cpu": "1", "memory": "4Gi", "disk": "20Gi", "minutes": 30}
_GPU = {"tolerations": [{"key": "nvidia.com/gpu"}]}
_L4 = {"cpu": "6", "memory": "24Gi", "accelerators": 1, "shm": "4Gi", **_GPU}
_OF_EIGHT = {"cpu": "12", "memory": "120Gi", "accelerators": 1, "shm": "16Gi", "disk": "120Gi", **_GPU}
PROFILES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    # A cluster on a laptop, or CI: everything on the CPU, SmolLM2-135M, on nodes from two cores and 16 GB on: what is
    # set aside leaves room for MLflow, the stores and Argo's own container in each pod.
    "cpu": {
        "light": {**_LIGHT, "cpu_request": "250m", "memory_request": "1Gi"},
        "generate": {
            "cpu": "2",
            "memory": "6Gi",
            "disk": "20Gi",
            "minutes": 120,
            "cpu_request": "500m",
            "memory_request": "3Gi",
        },
        "evaluate": {
            "cpu": "2",
            "memory": "6Gi",
            "disk": "20Gi",
            "minutes": 60,
            "cpu_request": "500m",
            "memory_request": "3Gi",
        },
        "train": {
            "cpu": "2",
            "memory": "12Gi",
            "shm": "1Gi",
            "disk": "40Gi",
            "minutes": 240,
            "cpu_request": "500m",
            "memory_request": "6Gi",
        },
    },
    # Nodes with one L4 or A10 (24 GB): bases up to about 1.5B parameters, 4B with adapters.
    "l4": {
        "light": _LIGHT,
        "generate": {"minutes": 120, "disk": "60Gi", **_L4},
        "evaluate": {"minutes": 60, "disk": "60Gi", **_L4},
        "train": {"minutes": 480, "disk": "200Gi", **_L4},
    },
    # A node of eight 80 GB GPUs: Qwen3-4B and 8B, all weights; sampling needs one or two of them.
    "node8": {
        "light": _LIGHT,
        "generate": {"minutes": 120, **_OF_EIGHT},
        "evaluate": {"minutes": 60, **_OF_EIGHT},
        "train": {
            "cpu": "88",
            "memory": "900Gi",
            "accelerators": 8,
            "shm": "64Gi",
            "disk": "1000Gi",
            "minutes": 480,
            **_GPU,
        },
    },
}


class ClusterSettings(Section):
    """A Kubernetes cluster: what runs there, and as whom. Secrets are named here, never given."""

    profile: Literal["cpu", "l4", "node8"] = "cpu"
    """What pods ask for: a CPU kind, one GPU of 24 GB, a node of eight GPUs of 80 GB."""
    pods: Pods = Field(default_factory=lambda: Pods.model_validate(PROFILES["cpu"]))
    """Changes to the profile, such as pods.train.memory."""
    host: str = ""
    """URL of Kubeflow Pipelines; empty is what a pod finds. A token is read from SELFEMO_KFP_TOKEN."""
    namespace: str = Field("self-emo", pattern=NAME)
    """Where runs, and all that is ours, live."""
    experiment: str = "self-emo"
    """Kubeflow's, in which runs are listed."""
    service_account: str = "selfemo"
    """What pods run as; where it is bound to a cloud role, no secret is needed."""
    secret: str = Field("", pattern=rf"{NAME}|^$")
    """Kubernetes Secret whose AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY pods get; empty where the account will do."""
    trainer: Literal["pod", "trainjob"] = "pod"
    """pod trains in the step's own pod; trainjob on Kubeflow Trainer, on any number of nodes."""
    nodes: int = Field(1, ge=1)
    """Nodes of a TrainJob, each with launch.processes processes."""
    devices: dict[str, int] = Field({})
    """What else each node of a TrainJob holds, such as rdma/hca_shared_devices_a: 1."""
    runtime: str = Field("torch-distributed", pattern=NAME)
    """ClusterTrainingRuntime of TrainJobs."""
    volume: str = Field("", pattern=rf"{NAME}|^$")
    """PersistentVolumeClaim for checkpoints, writable by all nodes; empty: see launch.checkpoints."""
    environment: dict[str, str] = Field({})
    """Plain variables of every step's pod, such as HTTPS_PROXY and NO_PROXY; they stand in forms: nothing secret."""
    ca_bundle: str = Field("", pattern=rf"{NAME}|^$")
    """ConfigMap whose ca.crt holds the authorities that pods trust, public ones too; empty is Python's own."""

    @property
    def variables(self) -> dict[str, str]:
        """Plain variables of every step's pod: the environment, and where its authorities are."""
        trusted = dict.fromkeys(CA_VARIABLES, f"{CA_DIRECTORY}/ca.crt") if self.ca_bundle else {}
        return {**trusted, **self.environment}

    @field_validator("environment")
    @classmethod
    def _nothing_secret(cls, environment: dict[str, str]) -> dict[str, str]:
        for name, value in environment.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is no name of a variable")
            if _SECRET.search(name):
                raise ValueError(f"{name} is a secret: forms and logs would show it; put it into cluster.secret")
            if name.startswith("SELFEMO_"):
                raise ValueError(f"{name} is set by the pipeline itself")
            if "@" in value and ("://" in value or name.upper().endswith("_PROXY")):
                raise ValueError(f"{name} holds a password: forms and logs show it; give the proxy one that needs none")
        return environment

    @field_validator("devices")
    @classmethod
    def _of_a_node(cls, devices: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        for name, count in devices.items():
            if not re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9._-]+", name) or count < 1:
                raise ValueError(f"{name}: {count} is no device of a node, such as rdma/hca_shared_devices_a: 1")
        if devices and info.data.get("trainer") == "pod":
            raise ValueError("Kubeflow's own pods hold accelerators alone: devices need trainer: trainjob")
        return devices

    @field_validator("host")
    @classmethod
    def _is_a_server(cls, host: str) -> str:
        return addresses.web(host) if host else host

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("profile", "cpu"), str):
            return data  # for the fields' own errors
        if data.get("profile", "cpu") not in PROFILES:
            return data
        changes = data.get("pods") or {}
        if not isinstance(changes, Mapping):
            return data
        profile = PROFILES[data.get("profile", "cpu")]
        pods: dict[str, Any] = {}
        for name, pod in profile.items():
            change = changes.get(name) or {}
            pods[name] = {**pod, **change} if isinstance(change, Mapping) else change
        return {**data, "pods": {**changes, **pods}}

    @field_validator("nodes")
    @classmethod
    def _distributed(cls, nodes: int, info: ValidationInfo) -> int:
        if nodes > 1 and info.data.get("trainer") == "pod":
            raise ValueError("several nodes need trainer: trainjob")
        return nodes
