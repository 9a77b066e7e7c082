"""A server that says no: a refusal is not taken for an absence, and asking again does not help."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.errors import UserError
from selfemo.registry.client import Registry
from selfemo.registry.mlflow_client import MlflowRefused
from selfemo.registry.versions import CHAMPION
from tests.unit.mlflow_client.faults import LOGIN, Server, Time

ODD = json.dumps(dict.fromkeys(["model_version", "experiment", "experiments", "runs", "registered_model"], 3))


@pytest.mark.parametrize(
    ("status", "kind", "body", "match"),
    [
        (401, "application/json", '{"error_code": "UNAUTHENTICATED", "message": "token expired"}', "token expired"),
        (403, "application/json", '{"error_code": "PERMISSION_DENIED", "message": "not yours"}', "not yours"),
        (401, "text/html", LOGIN, "401"),
        (403, "text/html", LOGIN, "403"),
        (404, "text/html", LOGIN, "404"),
        (200, "text/html", LOGIN, "Sign in"),
        (200, "application/json", ODD, "parse"),
    ],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.versions.get("1"),
        lambda r: r.versions.alias(CHAMPION),
        lambda r: r.versions.source("models:/m/1"),
        lambda r: r.experiment,
        lambda r: r.versions.register("s3://b/a", "run", {}),
        lambda r: r.parent,
    ],
    ids=["version", "alias", "source", "experiment", "register", "parent"],
)
def test_no_is_not_there_is_none(
    registry: Registry,
    server: Server,
    time: Time,
    ask: Callable[[Registry], object],
    status: int,
    kind: str,
    body: str,
    match: str,
) -> None:
    server.fault = lambda path: (status, kind, body)
    with pytest.raises(MlflowRefused, match=match) as raised:
        ask(registry)
    assert raised.value.where == server.uri
    assert raised.value.fix
    assert time.now == 0, "asking again does not help"


def test_an_experiment_that_may_not_be_made_is_not_looked_for_again(registry: Registry, server: Server) -> None:
    denied = json.dumps({"error_code": "PERMISSION_DENIED", "message": "no new experiments"})
    missing = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"})
    server.fault = lambda path: (
        (403, "application/json", denied) if path.endswith("create") else (404, "application/json", missing)
    )
    with pytest.raises(MlflowRefused, match="no new experiments"):
        _ = registry.experiment


def test_a_place_that_cannot_be_opened_says_so(elsewhere: Path) -> None:
    registry = Registry((elsewhere / "mlruns").as_uri(), configuration.load(None))
    with pytest.raises(MlflowRefused, match="maintenance mode"):
        registry.versions.get("1")


def test_what_there_is_none_of_is_said_as_before(registry: Registry) -> None:
    registry.versions.register("s3://b/a", registry.round(1), {})
    assert registry.versions.alias(CHAMPION) is None
    for number in ("9", "nine", "9" * 20):
        with pytest.raises(UserError, match=f"no version {number}"):
            registry.versions.get(number)
        with pytest.raises(UserError, match="write models:/NAME"):
            registry.versions.source(f"models:/self-emo/{number}")
    with pytest.raises(UserError, match="write models:/NAME"):
        registry.versions.source("models:/nobody@champion")
