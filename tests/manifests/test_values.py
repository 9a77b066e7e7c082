"""One file says where things are: nothing names the old place when it says another, and any component can be taken."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests import check, dev_secrets
from manifests.objects import Json, build, pods, unresolved
from manifests.order import argo
from manifests.schemas import against_schemas
from tests.conftest import ROOT

MANIFESTS = ROOT / "manifests"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    copy = Path(
        shutil.copytree(MANIFESTS, tmp_path / "manifests", ignore=shutil.ignore_patterns("secrets*", "__pycache__"))
    )
    assert dev_secrets.write(copy / "components" / "dev-secrets" / "secrets")
    return copy


def change(place: Path, overlay: str, **values: str) -> None:
    """Set values, as an operator does."""
    file = place / "overlays" / overlay / "values.yaml"
    row = yaml.safe_load(file.read_text())
    row["data"].update({name.replace("_", "-"): value for name, value in values.items()})
    file.write_text(yaml.safe_dump(row))


def take(place: Path, overlay: str, *components: str, instead_of: str = "") -> list[Json]:
    """The overlay with components added to those that it takes."""
    file = place / "overlays" / overlay / "kustomization.yaml"
    row = yaml.safe_load(file.read_text())
    row["components"] = [c for c in row["components"] if not instead_of or not c.endswith(f"/{instead_of}")]
    row["components"] += [c if c == "native" else f"../../components/{c}" for c in components]
    file.write_text(yaml.safe_dump(row))
    return build(place / "overlays" / overlay)


def one(objects: list[Json], kind: str, name: str) -> Json:
    return next(o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name))


def strings(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [s for pair in node.items() for part in pair for s in strings(part)]
    return [s for part in node for s in strings(part)] if isinstance(node, list) else [str(node)]


def test_two_installations_share_a_cluster(place: Path) -> None:
    """Another namespace and another Kubeflow: nothing that is applied names the old ones."""
    from pipelines.overlay import overlay_to

    before = {(o["kind"], o["metadata"]["name"]) for o in build(place / "overlays/dev")}
    change(
        place, "dev", namespace="emotions", kubeflow_namespace="kfp", kfp_host="http://ml-pipeline.kfp:8888", model="e"
    )
    overlay_to(place / "overlays/dev")
    objects = take(place, "dev", "native")
    for owner in objects:
        if owner["kind"] == "Namespace":
            assert owner["metadata"]["name"] == "emotions"
            continue
        assert owner["metadata"]["namespace"] == "emotions", owner["metadata"]["name"]
        for text in strings(owner):
            assert "kubeflow.svc" not in text and "self-emo." not in text, (owner["metadata"]["name"], text[:200])
    subjects = [s for o in objects if o["kind"] == "RoleBinding" for s in o["subjects"]]
    assert {s["namespace"] for s in subjects} == {"emotions"}
    selected = re.findall(
        r"kubernetes.io/metadata.name: (.*)", yaml.safe_dump([o for o in objects if o["kind"] == "NetworkPolicy"])
    )
    assert set(selected) == {"kfp", "kube-system"}
    config = yaml.safe_load(one(objects, "ConfigMap", "selfemo-config")["data"]["config.yaml"])
    assert config["cluster"]["namespace"] == "emotions"
    after = {(o["kind"], o["metadata"]["name"]) for o in objects}
    assert {k for k, _ in after - before} == {"Namespace", "Pipeline", "PipelineVersion"}
    # Cluster-scoped objects are shared, and none of an installation's but its namespace.
    assert {o["kind"] for o in objects} & {
        "PriorityClass",
        "ClusterQueue",
        "ClusterRole",
        "ClusterRoleBinding",
    } == set()


def test_steps_are_left_to_kubeflow_which_keeps_sidecars_from_them() -> None:
    """It annotates the pods of every run, where the form has not: v2_template.go of 2.17.0."""
    for overlay in check.OVERLAYS:
        assert "sidecar.istio.io" not in (MANIFESTS / "overlays" / overlay / "form.yaml").read_text()


def test_values_are_read_and_never_applied() -> None:
    for overlay in ("staging", "prod"):
        names = {o["metadata"]["name"] for o in build(MANIFESTS / "overlays" / overlay) if o["kind"] == "ConfigMap"}
        assert names == {"selfemo-config", "selfemo-pipeline", "served-model"}


def test_mlflow_is_told_hosts_store_and_destination(place: Path) -> None:
    change(place, "staging", gateway_host="mlflow.corp", store_endpoint="https://s3.corp", bucket="b", prefix="p/q")
    (container,) = one(build(place / "overlays/staging"), "Deployment", "mlflow")["spec"]["template"]["spec"][
        "containers"
    ]
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert (env["GATEWAY_HOST"], env["AWS_ENDPOINT_URL_S3"]) == ("mlflow.corp", "https://s3.corp")
    assert (env["BUCKET"], env["PREFIX"]) == ("b", "p/q")
    hosts = env["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"mlflow:5000", "localhost:*", "$(GATEWAY_HOST)"} <= set(
        hosts
    )  # as pods, a port-forward and a gateway say it
    names = [e["name"] for e in container["env"]]  # a variable may use those that stand before it
    assert names.index("NAMESPACE") < names.index("MLFLOW_SERVER_ALLOWED_HOSTS") > names.index("GATEWAY_HOST")
    assert names.index("BUCKET") < names.index("MLFLOW_ARTIFACTS_DESTINATION") > names.index("PREFIX")


def test_dns_is_where_the_values_say(place: Path) -> None:
    change(place, "staging", dns_namespace="openshift-dns", dns_port="5353")
    (rule,) = one(build(place / "overlays/staging"), "NetworkPolicy", "dns")["spec"]["egress"]
    assert rule["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "openshift-dns"}
    assert rule["ports"] == [{"protocol": "UDP", "port": 5353}, {"protocol": "TCP", "port": 5353}]


def test_kubeflows_store_is_reached_at_the_ports_of_its_pods() -> None:
    """Policies see the pod's port: SeaweedFS of KFP listens on 8333 behind a Service on 9000."""
    (rule,) = one(build(MANIFESTS / "overlays/staging"), "NetworkPolicy", "steps-to-kubeflow")["spec"]["egress"]
    assert {p["port"] for p in rule["ports"]} == {8080, 8333, 8887, 8888, 9000}


def test_the_namespace_is_one_that_kubeflow_serves() -> None:
    labels = one(build(MANIFESTS / "overlays/staging"), "Namespace", "self-emo")["metadata"]["labels"]
    assert labels["pipelines.kubeflow.org/enabled"] == "true"
    assert labels["app.kubernetes.io/part-of"] == "kubeflow-profile"  # and not self-emo: KFP's store asks for it


def test_the_schedule_runs_what_git_holds() -> None:
    objects = build(MANIFESTS / "overlays/staging")
    (container,) = one(objects, "Job", "schedule")["spec"]["template"]["spec"]["containers"]
    assert "--form=/etc/selfemo-pipeline/form.yaml" in container["args"]
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    volumes = {v["name"]: v for v in one(objects, "Job", "schedule")["spec"]["template"]["spec"]["volumes"]}
    assert volumes[mounts["/etc/selfemo-pipeline"]]["configMap"]["name"] == "selfemo-pipeline"
    form = one(objects, "ConfigMap", "selfemo-pipeline")["data"]["form.yaml"]
    assert form == (MANIFESTS / "overlays/staging/form.yaml").read_text()
    assert len(form) < 900_000  # a ConfigMap holds a megabyte


TAKEN: dict[str, dict[str, str]] = {
    "profile": {"owner": "ann@example.org"},
    "kueue": {},
    "trainer": {},
    "submitters": {"submitters": "emotion-team"},
    "egress-store": {"store_port": "9443"},
    "egress-proxy": {"proxy": "http://proxy:3128", "proxy_port": "3128", "no_proxy": ".svc"},
    "egress-ssh": {},
    "dns-node-local": {},
    "istio-ambient": {},
    "image-pull-secret": {},
    "ca-bundle": {},
    "s3-by-role": {},
    "monitoring": {},
    "annotate": {"annotate_in": "tickets.parquet", "annotate_out": "read.parquet", "annotate_shards": "16"},
    "native": {},
    "canary": {"prometheus_namespace": "watchers"},
    "canary-deployment": {
        "prometheus_namespace": "watchers",
        "gateway": "front",
        "gateway_namespace": "gateways",
        "serving_host": "emotions.example.org",
    },
    "canary-kserve": {"prometheus_namespace": "watchers"},
    "collect-deployment": {"collect_share": "0.1", "collect_days": "30"},
    "collect-kserve": {"collect_share": "0.1", "collect_days": "30"},
    "drift": {},
}

WITHOUT_SCHEMA = "Profile|PodMonitor|PrometheusRule|HTTPRoute"
"""Kinds whose schemas need not lie in SELFEMO_SCHEMAS; where they do, they are asked."""


def alone(place: Path, component: str) -> list[Json]:
    """An overlay that it fits, with this component and no other added, in another namespace."""
    overlay = "prod" if component.endswith("-kserve") else "staging"  # they go with serving-kserve
    change(place, overlay, namespace="emotions", **TAKEN[component])
    return take(place, overlay, component, instead_of="namespace" if component == "profile" else "")


@pytest.mark.parametrize("component", TAKEN)
def test_every_component_can_be_taken(place: Path, component: str) -> None:
    objects = alone(place, component)
    text = yaml.safe_dump_all(objects)
    assert "set-from-" not in text
    for value in TAKEN[component].values():
        assert value in text
    assert list(argo(objects)) == []
    assert list(unresolved(objects, build(place / "cluster-gpu"))) == []
    assert [*check.in_a_mesh(objects), *check.unbounded(objects), *check.without_a_login(objects)] == []
    for owner in objects:
        cluster_wide = owner["kind"] in ("Namespace", "Profile")
        assert owner["metadata"].get("namespace") == (None if cluster_wide else "emotions"), owner["metadata"]["name"]


@pytest.mark.skipif(not check.SCHEMAS.is_dir(), reason="no CRD schemas: set SELFEMO_SCHEMAS")
@pytest.mark.parametrize("component", TAKEN)
def test_every_component_is_of_the_schemas(place: Path, component: str) -> None:
    """What a component adds, and what it makes of other objects; what has no schema here is named in docs/deploy.md."""
    found = list(against_schemas(alone(place, component), check.SCHEMAS))
    assert [line for line in found if not re.search(f"no schema of .* ({WITHOUT_SCHEMA})$", line)] == []


def test_a_field_that_a_component_gets_wrong_is_seen(place: Path) -> None:
    if not check.SCHEMAS.is_dir():
        pytest.skip("no CRD schemas: set SELFEMO_SCHEMAS")
    file = place / "components" / "resubmit" / "resubmit.yaml"
    file.write_text(file.read_text().replace("concurrencyPolicy:", "concurrency:"))
    assert any("concurrency" in line for line in against_schemas(alone(place, "kueue"), check.SCHEMAS))


def test_each_pod_of_an_annotation_has_a_shard_of_its_own(place: Path) -> None:
    change(place, "staging", **TAKEN["annotate"])
    objects = take(place, "staging", "annotate")
    job = one(objects, "Job", "annotate")
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 16
    (container,) = job["spec"]["template"]["spec"]["containers"]
    env = {e["name"]: e["value"] for e in container["env"]}
    assert env["POLICY"] == one(objects, "ConfigMap", "served-model")["data"]["uri"]
    # Kubernetes sets the index, and puts it and the other variables into the arguments.
    given = " ".join(container["args"])
    for name, value in {**env, "JOB_COMPLETION_INDEX": "3"}.items():
        given = given.replace(f"$({name})", value)
    assert "annotate /data/tickets.parquet /data/read.parquet " in given
    assert "--shard=3/16 " in given
    assert list(against_schemas([job], check.SCHEMAS)) == []


def test_all_components_are_tried_here_or_taken_by_an_overlay() -> None:
    taken = {
        Path(c).name
        for overlay in ("dev", "staging", "prod")
        for c in yaml.safe_load((MANIFESTS / "overlays" / overlay / "kustomization.yaml").read_text())["components"]
    }
    assert {p.name for p in (MANIFESTS / "components").iterdir()} - {"values"} <= taken | set(TAKEN)


def test_dev_wants_kubeflow_pipelines_alone(place: Path) -> None:
    groups = {o["apiVersion"].partition("/")[0] for o in [*build(place / "overlays/dev"), *build(place / "cluster")]}
    ours = {"v1", "apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io", "scheduling.k8s.io"}
    assert groups <= ours


def amount(text: str) -> float:
    units = {"m": 1e-3, "Mi": 2**20, "Gi": 2**30}
    unit = next((u for u in units if str(text).endswith(u)), "")
    return float(str(text).removesuffix(unit)) * units.get(unit, 1)


def test_dev_fits_two_cores_and_16_gb(place: Path) -> None:
    """The servers, and one step with Argo's container beside it."""
    from selfemo import config as configuration

    objects = build(place / "overlays/dev")
    containers = [c for o in objects if o["kind"] == "Deployment" for pod in pods(o) for c in pod["containers"]]
    kinds = configuration.load(place / "overlays/dev/config.yaml").cluster.pods
    for step in (kinds.light, kinds.generate, kinds.evaluate, kinds.train):
        asked = [amount(a) for a in step.requests]  # what the scheduler sets aside
        cpu = sum(amount(c["resources"]["requests"]["cpu"]) for c in containers) + asked[0] + 0.1
        memory = sum(amount(c["resources"]["requests"]["memory"]) for c in containers) + asked[1]
        assert cpu <= 1.8 and memory <= 14 * 2**30


def test_a_pod_of_ours_drives_no_step_away() -> None:
    """A TrainJob of one run evicted a step of another, and a new server the driver of the run that promoted it."""
    classes = [o for o in build(MANIFESTS / "cluster") if o["kind"] == "PriorityClass"]
    assert {c["metadata"]["name"] for c in classes} == {"selfemo-serving", "selfemo-work"}
    assert {c["preemptionPolicy"] for c in classes} == {"Never"}


def test_an_overlay_of_ones_own_is_compiled_and_checked_as_the_shipped_ones_are(tmp_path: Path) -> None:
    for name, mine in (("staging", "emotions"), ("prod", "emotions-gpu")):
        shutil.copytree(MANIFESTS / "overlays" / name, tmp_path / "overlays" / mine)
    assert check.overlays(tmp_path) == {"emotions": "cluster", "emotions-gpu": "cluster-gpu"}
    assert check.OVERLAYS == {"dev": "cluster", "staging": "cluster", "prod": "cluster-gpu"}
    assert "for overlay in manifests/overlays/*/;" in (MANIFESTS.parent / "Makefile").read_text()
