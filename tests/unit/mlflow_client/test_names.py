"""Which names a model may have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.errors import UserError
from selfemo.registry.client import Registry


@pytest.mark.parametrize("name", ["joe's model", 'the "best"', "a@b", "50 %_", "m#1?"])
def test_models_may_be_called_what_mlflow_takes(elsewhere: Path, database: str, name: str) -> None:
    registry = Registry(database, configuration.load(None, [f"mlflow.model={json.dumps(name)}"]))
    run = registry.round(1)
    version = registry.versions.register("s3://b/a", run, {})
    assert registry.versions.register("s3://b/a", run, {}) == version
    registry.champion.promote(version, passed=True, reason="first")
    assert (
        registry.versions.source(f"models:/{name}@champion")
        == registry.versions.source(f"models:/{name}/{version}")
        == "s3://b/a"
    )


@pytest.mark.parametrize("name", ['it\'s "it"', " ", "a\nb", "a/b", "a:b"])
def test_a_name_that_mlflow_cannot_search_for_is_refused_at_once(name: str) -> None:
    with pytest.raises(UserError, match=r"mlflow\.model"):
        configuration.load(None, [f"mlflow.model={json.dumps(name)}"])
