"""A write whose answer got lost is made once, and what was made twice does no harm."""

from __future__ import annotations

import mlflow
import pytest

from selfemo.registry.client import Registry
from selfemo.registry.mlflow_client import quoted
from tests.unit.mlflow_client.faults import Server, lost_once


@pytest.mark.parametrize("write", ["runs/create", "registered-models/create", "model-versions/create"])
def test_an_answer_that_got_lost_makes_nothing_twice(registry: Registry, server: Server, write: str) -> None:
    server.fault = lost_once(write)
    run = registry.round(1)
    version = registry.versions.register("s3://b/a", run, {"selfemo.scores": "s"})
    assert server.asked.count(write) >= 1
    assert [r.info.run_id for r in registry.rounds()] == [run]
    found = registry.client.search_model_versions(f"name={quoted(registry.model)}")
    assert [v.version for v in found] == [version] == ["1"]


def test_surplus_of_an_older_release_does_no_harm(registry: Registry) -> None:
    """Two runs of one round and two versions of one policy: everybody means the first."""
    run = registry.round(1)
    tags = dict(registry.client.get_run(run).data.tags)
    registry.client.create_run(registry.experiment, tags=tags, run_name=tags["mlflow.runName"])
    version = registry.versions.register("s3://b/a", run, {})
    registry.client.create_model_version(registry.model, "s3://b/a", await_creation_for=0)
    assert Registry.round(registry, 1) == run
    assert registry.versions.register("s3://b/a", run, {}) == version


def test_mlflows_own_retries_are_off(registry: Registry, server: Server) -> None:
    """They would send a request that makes something again, without looking whether it had arrived."""
    _ = registry.client.mlflow
    assert mlflow.environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 0
