"""A canary in the manifests: there while model.yaml names one, with its share, and gone without a trace otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests.check import SCHEMAS, in_a_mesh, unbounded
from manifests.objects import Json, build, unresolved
from manifests.order import argo
from manifests.schemas import against_schemas
from selfemo.registry.reference import CanaryReference, Reference
from tests.manifests.test_values import TAKEN, change, one, place, strings, take

__all__ = ["place"]

CANARY = CanaryReference("8", "s3://b/8", "e" * 64, 10)
HTTP_ROUTE = SCHEMAS / "gateway.networking.k8s.io_v1_HTTPRoute.json"


def with_canary(place: Path, overlay: str, canary: CanaryReference, version: str = "7") -> list[Json]:
    component = "canary-kserve" if overlay == "prod" else "canary-deployment"
    change(place, overlay, **TAKEN[component])
    reference = Reference("self-emo", version, "s3://b/7", "f" * 64).with_canary(canary)
    (place / "overlays" / overlay / "model.yaml").write_text(reference.to_yaml())
    taken = component in (place / "overlays" / overlay / "kustomization.yaml").read_text()
    return build(place / "overlays" / overlay) if taken else take(place, overlay, component)


def canaries(objects: list[Json]) -> list[tuple[str, str]]:
    return [(o["kind"], o["metadata"]["name"]) for o in objects if o["metadata"]["name"] == "serving-canary"]


def env(container: Json) -> dict[str, Any]:
    return {e["name"]: e.get("value") for e in container["env"]}


@pytest.mark.parametrize("overlay", ["staging", "prod"])
@pytest.mark.parametrize("canary", [CANARY, CanaryReference.nobody()], ids=["a canary", "none"])
def test_what_is_built_holds_together(place: Path, overlay: str, canary: CanaryReference) -> None:
    objects = with_canary(place, overlay, canary)
    assert list(unresolved(objects, build(place / "cluster-gpu"))) == []
    assert list(argo(objects)) == []
    assert [*in_a_mesh(objects), *unbounded(objects)] == []
    assert not any("set-from-" in text for o in objects for text in strings(o))
    known = [o for o in objects if o["kind"] != "HTTPRoute" or HTTP_ROUTE.is_file()]
    if SCHEMAS.is_dir():
        assert list(against_schemas(known, SCHEMAS)) == []


def test_a_canary_is_a_server_of_its_own_and_the_route_shares_out_the_traffic(place: Path) -> None:
    objects = with_canary(place, "staging", CANARY)
    assert canaries(objects) == [("Service", "serving-canary"), ("Deployment", "serving-canary")]
    (container,) = one(objects, "Deployment", "serving-canary")["spec"]["template"]["spec"]["containers"]
    assert (env(container)["POLICY"], env(container)["DIGEST"]) == ("s3://b/8", "e" * 64)
    assert "generation-python" in container["image"]
    (champion,) = one(objects, "Deployment", "serving")["spec"]["template"]["spec"]["containers"]
    assert (env(champion)["POLICY"], env(champion)["DIGEST"]) == ("s3://b/7", "f" * 64)
    selectors = [one(objects, "Service", name)["spec"]["selector"] for name in ("serving", "serving-canary")]
    assert selectors == [{"app.kubernetes.io/component": name} for name in ("serving", "serving-canary")]
    route = one(objects, "HTTPRoute", "serving")["spec"]
    (rule,) = route["rules"]
    assert [(b["name"], b["weight"]) for b in rule["backendRefs"]] == [("serving", 90), ("serving-canary", 10)]
    assert route["parentRefs"] == [{"name": "front", "namespace": "gateways"}]
    assert route["hostnames"] == ["emotions.example.org"]


def test_without_one_nothing_of_it_is_there_and_the_champion_gets_all(place: Path) -> None:
    objects = with_canary(place, "staging", CanaryReference.nobody())
    assert canaries(objects) == []
    (rule,) = one(objects, "HTTPRoute", "serving")["spec"]["rules"]
    assert [(b["name"], b["weight"]) for b in rule["backendRefs"]] == [("serving", 100)]


def test_the_champions_pods_are_not_started_anew_for_a_canary(place: Path) -> None:
    before = with_canary(place, "staging", CanaryReference.nobody())
    after = with_canary(place, "staging", CANARY)
    assert one(after, "Deployment", "serving") == one(before, "Deployment", "serving")
    before, after = (with_canary(place, "prod", canary) for canary in (CanaryReference.nobody(), CANARY))
    ours, theirs = (one(o, "InferenceService", "self-emo") for o in (before, after))
    assert ours["metadata"] == theirs["metadata"]  # KServe hands labels and annotations on to the pods
    assert ours["spec"]["predictor"] == theirs["spec"]["predictor"]


def test_kserve_gets_an_entry_of_its_own_kind(place: Path) -> None:
    service = one(with_canary(place, "prod", CANARY), "InferenceService", "self-emo")
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"  # or KServe refuses it
    (entry,) = service["spec"]["canary"]
    stable, predictor = service["spec"]["predictor"], entry["predictor"]
    assert (predictor["name"], entry["trafficPercent"]) == ("canary", 10)
    assert predictor["minReplicas"] <= stable["minReplicas"]
    assert "canaryTrafficPercent" not in stable  # which Standard mode passes over in silence
    (fetch,), (of_champion,) = predictor["initContainers"], stable["initContainers"]
    assert (env(fetch)["POLICY"], env(fetch)["DIGEST"]) == ("s3://b/8", "e" * 64)
    for container in (fetch, of_champion):  # a list is replaced whole: all else has to be the champion's
        container["env"] = sorted(env(container))
    assert fetch == of_champion


def test_without_one_kserve_has_no_entry(place: Path) -> None:
    assert (
        "canary"
        not in one(with_canary(place, "prod", CanaryReference.nobody()), "InferenceService", "self-emo")["spec"]
    )


def test_the_rule_asks_the_two_servers_and_prometheus_and_has_no_right_in_the_cluster(place: Path) -> None:
    objects = with_canary(place, "staging", CANARY)
    job = one(objects, "CronJob", "canary-check")["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert job["backoffLimit"] == 0  # a second try would hide that the first has rolled back
    assert pod["containers"][0]["args"][:2] == ["canary", "check"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("selfemo-sync", False)
    assert not [o for o in objects if o["kind"] == "RoleBinding" and "selfemo-sync" in yaml.safe_dump(o)]
    egress = yaml.safe_dump(one(objects, "NetworkPolicy", "canary-to-prometheus")["spec"])
    assert "kubernetes.io/metadata.name: watchers" in egress
    for policy in ("to-serving-canary", "canary-asks-serving"):
        assert "serving-canary" in yaml.safe_dump(one(objects, "NetworkPolicy", policy)["spec"]["podSelector"])
