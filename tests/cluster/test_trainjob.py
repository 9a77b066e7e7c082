"""TrainJobs as documents: what they ask for, and that the served schema knows every field of them."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfemo import config as configuration
from selfemo.cluster.trainjob import HASH, job_name, label, manifest
from selfemo.config.cluster import PROFILES
from selfemo.errors import UserError
from tests.cluster.schemas import closed, schema

URI = "s3://selfemo/demo/round-1/train-0123456789ab"


def made(*overrides: str, **extra: Any) -> dict[str, Any]:
    config = configuration.load(None, ["cluster.trainer=trainjob", *overrides])
    return manifest(config, "a-job", "image@sha256:1", ["train"], environment={}, **extra)


def template(job: dict[str, Any]) -> dict[str, Any]:
    (replicated,) = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return dict(replicated["template"]["spec"]["template"])


def node(job: dict[str, Any]) -> dict[str, Any]:
    return dict(template(job)["spec"])


def test_nodes_processes_and_resources_come_from_the_configuration() -> None:
    job = made("cluster.profile=node8", "cluster.nodes=2", "launch.processes=8", "launch.strategy=zero3")
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "88", "memory": "900Gi", "nvidia.com/gpu": "8"}
    assert trainer["resourcesPerNode"]["limits"] == trainer["resourcesPerNode"]["requests"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Gi"}} in node(job)["volumes"]
    assert node(job)["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert job["spec"]["activeDeadlineSeconds"] == 480 * 60


def test_a_cpu_profile_asks_for_no_accelerator() -> None:
    assert set(made()["spec"]["trainer"]["resourcesPerNode"]["limits"]) == {"cpu", "memory"}


def test_a_node_holds_its_network_card_where_nodes_talk_by_rdma() -> None:
    job = made("cluster.profile=node8", "cluster.nodes=2", "cluster.devices={rdma/hca_shared_devices_a: 1}")
    held = job["spec"]["trainer"]["resourcesPerNode"]
    assert held["limits"]["rdma/hca_shared_devices_a"] == held["requests"]["rdma/hca_shared_devices_a"] == "1"


def test_the_queue_is_a_label_of_the_job() -> None:
    job = made("cluster.pods.train.queue=gpus")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "kueue.x-k8s.io/queue-name" not in made()["metadata"]["labels"]


def test_its_pods_get_no_sidecar_and_are_known_to_network_policies_whichever_runtime_makes_them() -> None:
    labels = template(made("cluster.runtime=torch-distributed"))["metadata"]["labels"]
    assert labels == {"sidecar.istio.io/inject": "false", "app.kubernetes.io/component": "train"}


def test_secrets_are_named_and_never_given() -> None:
    names = {e["name"]: e for e in made("cluster.secret=s3-access")["spec"]["trainer"]["env"]}
    assert names["AWS_SECRET_ACCESS_KEY"] == {
        "name": "AWS_SECRET_ACCESS_KEY",
        "valueFrom": {"secretKeyRef": {"name": "s3-access", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}},
    }
    assert made()["spec"]["trainer"]["env"] == []


def test_its_pods_get_a_proxy_and_the_authorities_to_trust() -> None:
    job = made("cluster.environment={HTTPS_PROXY: 'http://proxy:3128'}", "cluster.ca_bundle=company-ca")
    told = {e["name"]: e["value"] for e in job["spec"]["trainer"]["env"]}
    assert (told["HTTPS_PROXY"], told["SSL_CERT_FILE"]) == ("http://proxy:3128", "/etc/selfemo-ca/ca.crt")
    assert {"name": "ca", "configMap": {"name": "company-ca"}} in node(job)["volumes"]
    (container,) = node(job)["containers"]
    assert {"name": "ca", "mountPath": "/etc/selfemo-ca", "readOnly": True} in container["volumeMounts"]


def test_checkpoints_go_to_the_volume_where_there_is_one() -> None:
    claimed = {v["name"]: v for v in node(made("cluster.volume=checkpoints"))["volumes"]}
    assert claimed["work"]["persistentVolumeClaim"] == {"claimName": "checkpoints"}
    assert {"name": "work", "emptyDir": {"sizeLimit": "40Gi"}} in node(made())["volumes"]
    assert {"name": "work", "emptyDir": {}} in node(made("cluster.pods.train.disk=''"))["volumes"]


def test_the_pod_that_waits_owns_the_job() -> None:
    (owner,) = made(owner=("pod-1", "uid-1"))["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "pod-1", "uid": "uid-1"}


def test_the_hash_is_of_the_spec_and_of_nothing_else() -> None:
    one, same, other = made(), made(owner=("p", "u")), made("cluster.pods.train.memory=13Gi")
    assert one["metadata"]["annotations"][HASH] == same["metadata"]["annotations"][HASH]
    assert one["metadata"]["annotations"][HASH] != other["metadata"]["annotations"][HASH]


@given(
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True),
    st.sampled_from(["warmup", "train"]),
    st.integers(0, 10),
)
def test_names_are_dns_labels_with_room_for_the_names_of_pods(run: str, step: str, round: int) -> None:
    name = job_name(run, step, round, "0123456789ab")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 40
    assert re.fullmatch(r"[a-z0-9A-Z]([-._a-zA-Z0-9]*[a-zA-Z0-9])?", label(run)) or not label(run)


tolerations = st.fixed_dictionaries(
    {"key": st.sampled_from(["gpu", "spot"]), "effect": st.sampled_from(["", "NoExecute"])}
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(PROFILES)),
    st.lists(tolerations, max_size=2),
    st.dictionaries(st.sampled_from(["cloud/pool", "gpu"]), st.sampled_from(["a", "l4"])),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
    st.integers(1, 8),
)
def test_every_job_is_what_the_served_schema_knows(
    profile: str,
    taints: list[Any],
    places: dict[str, str],
    secret: bool,
    volume: bool,
    owned: bool,
    nodes: int,
    each: int,
) -> None:
    validator = closed(schema("trainer.kubeflow.org_v1alpha1_TrainJob"))
    job = made(
        f"cluster.profile={profile}",
        f"cluster.pods.train.tolerations={json.dumps(taints)}",
        f"cluster.pods.train.node_selector={json.dumps(places)}",
        "cluster.secret=s3" if secret else "cluster.nodes=1",
        "cluster.volume=work" if volume else "cluster.nodes=1",
        f"cluster.nodes={nodes}",
        f"launch.processes={each}",
        owner=("p", "u") if owned else None,
    )
    validator.validate(job)


def test_a_field_that_the_schema_does_not_know_is_seen() -> None:
    validator = closed(schema("trainer.kubeflow.org_v1alpha1_TrainJob"))
    planted = deepcopy(made())
    planted["spec"]["trainer"]["nodes"] = 2
    assert not validator.is_valid(planted)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cluster.pods.light.accelerators=1", "light steps hold no accelerator"),
        ("cluster.pods.train.memory=lots", "no quantity"),
        ("cluster.nodes=2", "several nodes need trainer: trainjob"),
        ("cluster.devices={rdma/ib: 1}", "devices need trainer: trainjob"),
        ("cluster.devices={rdma: 1}", "no device of a node"),
        ("cluster.pods.trian.memory=1Gi", "Extra inputs"),
        ("cluster.profile=tpu", "Input should be"),
        ("cluster.pods.train.tolerations=[{key: a, operator: Equal}]", "compares with a value"),
    ],
)
def test_what_a_cluster_cannot_give_is_an_error_at_once(override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        configuration.load(None, [override])
