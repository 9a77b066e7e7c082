"""The sidecar in KServe's pods: what gets the traffic, what it is told, and that nothing gets round it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from manifests import check
from manifests.objects import Json
from manifests.schemas import against_schemas
from selfemo.cli import main
from selfemo.cli.registry import CONFIGURED
from selfemo.serving.command import KEY
from selfemo.serving.limits import HEALTH, LIVE
from selfemo.serving.sidecar.app import FIGURES
from selfemo.serving.sidecar.upstream import Waits
from tests.manifests.test_canary import CANARY, with_canary
from tests.manifests.test_values import TAKEN, change, one, place, take

__all__ = ["place"]


def env(container: Json) -> dict[str, str]:
    return {e["name"]: e.get("value", "") for e in container["env"]}


@pytest.fixture
def objects(place: Path) -> list[Json]:
    change(place, "prod", **TAKEN["collect-kserve"])
    return take(place, "prod", "monitoring", "collect-kserve")


def test_the_sidecar_stands_before_vllm_in_the_container_that_kserve_sends_traffic_to(objects: list[Json]) -> None:
    runtime = one(objects, "ServingRuntime", "selfemo-vllm")["spec"]
    vllm, ours = runtime["containers"]
    assert (vllm["name"], ours["name"]) == ("kserve-container", "transformer-container")
    assert [p["containerPort"] for p in vllm["ports"]] == [8081] and "--port=8081" in vllm["args"]
    assert ours["ports"] == [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}]
    assert {"--upstream=http://127.0.0.1:8081", "--port=8080", "--host=0.0.0.0"} <= set(ours["args"])
    assert ours["image"] == vllm["image"]
    assert ours["securityContext"] == vllm["securityContext"]
    volumes = {v["name"] for v in [*runtime["volumes"], *_predictor(objects)["volumes"]]}
    assert {m["name"] for m in ours["volumeMounts"]} <= volumes
    if check.SCHEMAS.is_dir():
        assert list(against_schemas([one(objects, "ServingRuntime", "selfemo-vllm")], check.SCHEMAS)) == []


def test_its_options_are_those_of_the_command_and_it_wants_the_servers_key(objects: list[Json]) -> None:
    ours = one(objects, "ServingRuntime", "selfemo-vllm")["spec"]["containers"][1]
    given = [argument.replace("$(SHARE)", "0.1").replace("$(DAYS)", "30") for argument in ours["args"]]
    command = main.commands[given[0]]
    parsed = command.make_context("collect", given[1:]).params
    assert (parsed["share"], parsed["days"], parsed["policy"], parsed["place"]) == (0.1, 30, "/model", None)
    assert env(ours)["SHARE"] == "0.1" and env(ours)["DAYS"] == "30"
    key = next(e for e in ours["env"] if e["name"] == KEY)["valueFrom"]["secretKeyRef"]
    theirs = one(objects, "ServingRuntime", "selfemo-vllm")["spec"]["containers"][0]["env"]
    assert key in [e["valueFrom"]["secretKeyRef"] for e in theirs if "valueFrom" in e]
    assert ours["envFrom"] == [{"secretRef": {"name": "feedback-s3", "optional": True}}]  # and not what reads weights


def test_it_is_ready_when_vllm_is_and_alive_without(objects: list[Json]) -> None:
    ours = one(objects, "ServingRuntime", "selfemo-vllm")["spec"]["containers"][1]
    ready, alive = ours["readinessProbe"], ours["livenessProbe"]
    assert (ready["httpGet"]["path"], alive["httpGet"]["path"]) == (HEALTH, LIVE)
    assert ready["timeoutSeconds"] >= 5 > Waits().probe and alive["timeoutSeconds"] >= 10


def test_nobody_is_let_in_to_vllm_past_it_and_both_are_scraped(objects: list[Json]) -> None:
    policies = [o for o in objects if o["kind"] == "NetworkPolicy" and "serving" in yaml.safe_dump(o["spec"])]
    ports = {p["port"] for o in policies for rule in o["spec"].get("ingress", []) for p in rule.get("ports", [])}
    assert policies and 8080 in ports and 8081 not in ports
    for name in ("serving", "serving-canary"):
        endpoints = one(objects, "PodMonitor", name)["spec"]["podMetricsEndpoints"]
        assert [e["path"] for e in endpoints if e["port"] == "http1"] == ["/metrics", FIGURES]
        assert endpoints[-1]["relabelings"] == [{"targetLabel": "endpoint", "replacement": "collect"}]


def test_the_servers_of_a_deployment_and_of_its_canary_keep_what_clients_agree_to(place: Path) -> None:
    change(place, "staging", **TAKEN["collect-deployment"])
    with_canary(place, "staging", CANARY)
    objects = take(place, "staging", "collect-deployment")
    for name in ("serving", "serving-canary"):
        (server,) = one(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        given = [argument.replace("$(SHARE)", "0.1").replace("$(DAYS)", "30") for argument in server["args"]]
        parsed = main.commands[given[0]].make_context("serve", given[1:]).params
        assert (parsed["collect"], parsed["collect_share"], parsed["collect_days"]) == (CONFIGURED, 0.1, 30)
        assert env(server)["SHARE"] == "0.1" and env(server)["DAYS"] == "30"
        names = [source["secretRef"]["name"] for source in server["envFrom"]]
        assert names == ["serving-s3", "feedback-s3"]  # of two that give one variable, the last counts


def _predictor(objects: list[Json]) -> Json:
    found: Json = one(objects, "InferenceService", "self-emo")["spec"]["predictor"]
    return found
