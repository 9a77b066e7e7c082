"""What serves the champion: the version that Git names, as many pods of it, and where they and a run's pods may be."""

from __future__ import annotations

from pathlib import Path

from manifests.objects import build
from selfemo import config as configuration
from selfemo.config.cluster import Pods
from selfemo.config.quantity import amount
from selfemo.registry.reference import Reference
from tests.conftest import ROOT
from tests.manifests.test_manifests import built, one
from tests.manifests.test_values import place

__all__ = ["place"]


def test_what_is_served_is_what_the_reference_names() -> None:
    for overlay in ("staging", "prod"):
        objects = built(f"overlays/{overlay}")
        data = one(objects, "ConfigMap", "served-model")["data"]
        if overlay == "prod":
            predictor = one(objects, "InferenceService", "self-emo")["spec"]["predictor"]
            (container,), annotations = predictor["initContainers"], predictor["annotations"]
            notes = one(objects, "InferenceService", "self-emo")["metadata"]["annotations"]
            assert notes["serving.kserve.io/stop"] == data["stop"] == "true"  # there is no version yet
        else:
            assert one(objects, "Deployment", "serving")["spec"]["replicas"] == int(data["replicas"]) == 0
            template = one(objects, "Deployment", "serving")["spec"]["template"]
            (container,), annotations = template["spec"]["containers"], template["metadata"]["annotations"]
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert (env["POLICY"], env["DIGEST"]) == (data["uri"], data["digest"])
        assert annotations["selfemo/version"] == data["version"]
        assert {"--policy=$(POLICY)", "--digest=$(DIGEST)"} <= set(container["args"])
        assert not any(str(v).startswith("set-from") for v in env.values())


def test_a_new_reference_changes_the_pods(place: Path) -> None:
    before = one(build(place / "overlays/dev"), "Deployment", "serving")["spec"]["template"]
    reference = Reference("self-emo", "7", "s3://selfemo/dev/x", "f" * 64)
    (place / "overlays/dev/model.yaml").write_text(reference.to_yaml())
    after = one(build(place / "overlays/dev"), "Deployment", "serving")["spec"]["template"]
    assert after != before
    assert after["metadata"]["annotations"]["selfemo/version"] == "7"
    assert one(build(place / "overlays/dev"), "Deployment", "serving")["spec"]["replicas"] == 1


def test_as_many_pods_are_served_as_the_reference_says_and_no_more(place: Path) -> None:
    """KServe's autoscaler would take a second GPU by the load of a CPU."""
    reference = Reference("self-emo", "7", "s3://b/7", "f" * 64)
    (place / "overlays/prod/model.yaml").write_text(reference.to_yaml(replicas="3"))
    service = one(build(place / "overlays/prod"), "InferenceService", "self-emo")
    assert service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "none"
    assert service["spec"]["predictor"]["minReplicas"] == 3 and "maxReplicas" not in service["spec"]["predictor"]


def test_whatever_holds_a_gpu_in_prod_is_counted_by_kueue_or_stays_off_the_nodes_that_it_counts_for_runs() -> None:
    cluster = built("cluster-gpu")
    pools = {o["metadata"]["name"]: o["spec"]["nodeLabels"] for o in cluster if o.get("spec", {}).get("nodeLabels")}
    config = configuration.load(ROOT / "manifests" / "overlays" / "prod" / "config.yaml")
    held = [pod for pod in (getattr(config.cluster.pods, kind) for kind in Pods.model_fields) if pod.accelerators]
    assert len(held) == 3
    assert {pod.queue for pod in held} == {one(built("overlays/prod"), "LocalQueue", "selfemo")["metadata"]["name"]}
    for pod in held:
        assert pod.node_selector == pools["selfemo-h100"]
    served = one(built("overlays/prod"), "InferenceService", "self-emo")["spec"]["predictor"]
    assert served["nodeSelector"] in pools.values() and served["nodeSelector"] != pools["selfemo-h100"]
    queue = one(cluster, "ClusterQueue", "selfemo")["spec"]
    assert queue["preemption"]["withinClusterQueue"] == "Never"  # steps have no priority: a TrainJob would end them
    quota = {f["name"]: f["resources"] for g in queue["resourceGroups"] for f in g["flavors"]}["selfemo-h100"]
    for resource, wanted in (("cpu", "cpu"), ("memory", "memory"), ("nvidia.com/gpu", "accelerators")):
        has = next(r["nominalQuota"] for r in quota if r["name"] == resource)
        assert all(amount(str(getattr(pod, wanted))) <= amount(str(has)) for pod in held), resource
