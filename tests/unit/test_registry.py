"""The registry against a real MLflow store in a file; the server is in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.errors import GateClosed, UserError
from selfemo.registry.client import Registry
from selfemo.registry.versions import CHALLENGER, CHAMPION


@pytest.fixture
def registry(mlflow_file: str) -> Registry:
    return Registry(mlflow_file, configuration.load(None, ["run=unit"]))


def _version(registry: Registry, name: str) -> str:
    return registry.versions.register(f"s3://bucket/{name}", registry.round(1), {"selfemo.round": "1"})


def test_runs_are_found_again_by_name_with_rounds_as_children(registry: Registry) -> None:
    again = Registry(registry.tracking_uri, registry.config)
    assert again.parent == registry.parent
    assert registry.round(2) == again.round(2) != registry.round(1)
    assert [r.data.tags["selfemo.round"] for r in registry.rounds()] == ["1", "2"]
    assert registry.rounds()[0].data.tags["mlflow.parentRunId"] == registry.parent
    registry.finish(registry.parent, "FAILED")
    assert registry.client.get_run(again.parent).info.status == "FAILED"


def test_what_is_logged_again_is_logged_once_and_what_changed_is_kept(registry: Registry) -> None:
    run = registry.parent
    for _ in range(2):
        registry.metrics_once(run, 0, {"f1": 0.5, "accuracy": 0.6})
        registry.metrics_once(run, 1, {"f1": 0.5, "accuracy": 0.7})
    registry.metrics_once(run, 1, {"f1": 0.4, "accuracy": 0.7})
    assert [(m.step, m.value) for m in registry.client.get_metric_history(run, "f1")] == [(0, 0.5), (1, 0.5), (1, 0.4)]
    assert [m.value for m in registry.client.get_metric_history(run, "accuracy")] == [0.6, 0.7]


def test_the_run_that_kfp_makes_for_each_task_is_not_taken_for_the_pipelines(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = registry.parent
    for _ in range(2):
        monkeypatch.setenv("MLFLOW_RUN_ID", registry.client.create_run(registry.experiment).info.run_id)
        assert Registry(registry.tracking_uri, registry.config).parent == pipeline


def test_parameters_metrics_datasets_and_files_are_logged(registry: Registry, tmp_path: Path) -> None:
    run = registry.round(1)
    registry.params(run, {"a": 1, "b": "x"})
    registry.params(run, {"a": 2, "b": "x"})  # a resumed run with another value keeps both, and does not fail
    registry.metrics(run, [(s, {"loss": 1.0 / (s + 1), "name": "ignored"}) for s in range(1200)])  # type: ignore[dict-item]  # what is no number is left out
    registry.dataset(run, "prepared", "d" * 64, "s3://x", "training")
    data = registry.client.get_run(run)
    assert data.data.params == {"a": "1", "b": "x"}
    assert data.data.tags["changed.a"] == "2"
    assert len(registry.client.get_metric_history(run, "loss")) == 1200
    assert data.inputs.dataset_inputs[0].dataset.digest == "d" * 36


def test_the_same_policy_is_registered_once(registry: Registry) -> None:
    assert _version(registry, "a") == _version(registry, "a") == "1"
    assert _version(registry, "b") == "2"
    assert registry.versions.get("2").source == "s3://bucket/b"
    with pytest.raises(UserError, match="no version 9"):
        registry.versions.get("9")


def test_a_policy_that_is_registered_again_has_its_newest_scores_and_what_the_gate_said_of_them(
    registry: Registry,
) -> None:
    first = {
        "selfemo.scores": "s3://b/one",
        "selfemo.gate": "passed",
        "selfemo.stopped": "collapse",
        "selfemo.code": "1",
    }
    second = {"selfemo.scores": "s3://b/two", "selfemo.gate": "closed", "selfemo.stopped": "", "selfemo.code": "1"}
    run = registry.round(1)
    version = registry.versions.register("s3://bucket/a", run, first)
    registry.champion.promote(version, passed=True, reason="better")
    promoted = registry.versions.get(version).tags
    assert registry.versions.register("s3://bucket/a", run, second) == version
    assert registry.versions.get(version).tags == {**promoted, **second}


def test_promotion_goes_through_the_gate_only(registry: Registry) -> None:
    first, second = _version(registry, "a"), _version(registry, "b")
    assert registry.versions.alias(CHAMPION) is None
    with pytest.raises(GateClosed, match="not better"):
        registry.champion.promote(first, passed=False, reason="not better")
    assert registry.versions.alias(CHAMPION) is None
    assert registry.champion.promote(first, passed=True, reason="first") is None
    assert registry.champion.promote(second, passed=False, reason="a person's word", force=True) == first
    champion = registry.versions.alias(CHAMPION)
    assert champion is not None
    assert str(champion.version) == second
    assert champion.tags["selfemo.promotion_forced"] == "true"
    assert registry.champion.promote(second, passed=True, reason="again") == second


def test_rollback_returns_to_the_champion_before(registry: Registry) -> None:
    first, second = _version(registry, "a"), _version(registry, "b")
    with pytest.raises(UserError, match="no earlier champion"):
        registry.champion.rollback("why")
    registry.champion.promote(first, passed=True, reason="x")
    registry.champion.promote(second, passed=True, reason="y")
    assert registry.champion.rollback("it shouts") == (second, first)
    assert registry.versions.get(second).tags["selfemo.rolled_back"].endswith(": it shouts")
    with pytest.raises(UserError, match="no earlier champion"):
        registry.champion.rollback("further")


def test_models_are_named_by_alias_or_version(registry: Registry) -> None:
    version = _version(registry, "a")
    registry.versions.set_alias(CHALLENGER, version)
    assert registry.versions.source("models:/self-emo@challenger") == "s3://bucket/a"
    assert registry.versions.source("models:/self-emo/1") == "s3://bucket/a"
    for wrong in ("models:/self-emo@champion", "models:/nobody/1"):
        with pytest.raises(UserError, match="write models:/NAME"):
            registry.versions.source(wrong)


def test_a_policy_that_another_run_begins_from_keeps_what_says_where_it_comes_from(registry: Registry) -> None:
    first = registry.versions.register(
        "s3://bucket/a", registry.round(1), {"selfemo.scores": "x"}, {"selfemo.run": "its own"}
    )
    again = registry.versions.register(
        "s3://bucket/a", registry.round(1), {"selfemo.scores": "y"}, {"selfemo.run": "another"}
    )
    tags = registry.versions.get(first).tags
    assert (again, tags["selfemo.run"], tags["selfemo.scores"]) == (first, "its own", "y")
