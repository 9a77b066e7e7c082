"""The registry's champion is moved by the gate alone, whoever put it there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.context import Context
from selfemo.data.records import write_records
from selfemo.errors import GateClosed, UserError
from selfemo.method import gate
from selfemo.method.gate import Decision
from selfemo.registry import promotion
from selfemo.registry.mlflow_client import MlflowRefused, Unreachable
from selfemo.registry.promotion import after_decision, promote_version
from selfemo.registry.rounds import RoundFate, RoundRow, cells
from selfemo.registry.versions import CHALLENGER, CHAMPION
from tests.spaces import SPACES
from tests.unit.test_evaluation import _pairs, rows


@pytest.fixture
def context(mlflow_file: str, tmp_path: Path) -> Context:
    uris = [f"store.root={(tmp_path / 's').as_uri()}", f"mlflow.tracking_uri={mlflow_file}"]
    return Context(configuration.load(None, [f"workdir={tmp_path / 'w'}", *uris]))


def policy(context: Context, tmp_path: Path, name: str, right: float, turns: int = 240) -> tuple[str, str, str]:
    """URI of some weights, URI of their scores, and their version."""
    folder = tmp_path / name
    folder.mkdir()
    write_records(folder / "predictions.jsonl.gz", rows(_pairs(right, turns)))
    scores = context.store.uri(name, "scores")
    context.store.publish(folder, scores, step="score")
    weights = context.store.uri(name, "weights")
    registry = context.registry
    return weights, scores, registry.versions.register(weights, registry.round(1), {"selfemo.scores": scores})


def alias(context: Context, name: str) -> str | None:
    found = context.registry.versions.alias(name)
    return None if found is None else str(found.version)


def decided(context: Context, version: str, scores: str, *, promoted: bool = True, champion: str = "") -> str:
    return after_decision(context, context.registry.versions.get(version), Decision(promoted, "loop"), champion, scores)


def test_the_first_policy_is_champion_and_each_is_challenger_first(context: Context, tmp_path: Path) -> None:
    _, scores, version = policy(context, tmp_path, "a", 0.5)
    decided(context, version, scores)
    assert alias(context, CHAMPION) == alias(context, CHALLENGER) == version


def test_a_first_round_does_not_unseat_the_champion_of_an_earlier_run(context: Context, tmp_path: Path) -> None:
    _, first_scores, first = policy(context, tmp_path, "a", 0.6)
    decided(context, first, first_scores)
    _, scores, second = policy(context, tmp_path, "b", 0.5)
    assert "fell" in decided(context, second, scores)
    assert alias(context, CHAMPION) == first
    assert alias(context, CHALLENGER) == second
    _, scores, third = policy(context, tmp_path, "c", 0.9)
    decided(context, third, scores)
    assert alias(context, CHAMPION) == third


@pytest.mark.parametrize(
    ("promoted", "stopped", "became", "shown"),
    [
        (True, "", "", "promoted"),
        (True, "", "kept", "kept"),  # the loop's gate said yes, the registry's champion is better still
        (True, "", "rolled back", "rolled back"),
        (False, "", "promoted", "promoted"),  # by hand
        (False, "collapsed", "kept", "stopped"),
        (False, "", "", "kept"),
    ],
)
def test_the_table_says_what_the_registry_did(promoted: bool, stopped: str, became: str, shown: str) -> None:
    row = RoundRow(1, 3, 1, 0.5, 0.5, 0.5, (0.4, 0.6), None, None, 1.0, promoted, stopped, became=RoundFate(became))
    assert cells(row)[-1] == shown


def test_a_champion_of_another_corpus_is_not_replaced(context: Context, tmp_path: Path) -> None:
    _, first_scores, first = policy(context, tmp_path, "a", 0.5)
    decided(context, first, first_scores)
    _, scores, second = policy(context, tmp_path, "b", 1.0, turns=60)
    assert "not comparable" in decided(context, second, scores)
    assert alias(context, CHAMPION) == first
    context.registry.client.delete_model_version_tag("self-emo", first, "selfemo.scores")
    assert "no scores" in decided(context, second, scores)


@pytest.mark.parametrize("fault", ["refused", "unreachable", "missing"])
def test_a_fault_while_the_gate_is_asked_loses_no_promotion(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    _, first_scores, first = policy(context, tmp_path, "a", 0.5)
    decided(context, first, first_scores)
    _, scores, second = policy(context, tmp_path, "b", 0.9)
    kept, ask = Path(first_scores.removeprefix("file://")), promotion.against_registry

    def away(name: str) -> object:
        raise {"refused": MlflowRefused, "unreachable": Unreachable}[fault]("MLflow says so")

    with monkeypatch.context() as outage:

        def ask_in_the_outage(context: Context, scores: str) -> Decision:
            outage.setattr(context.registry.versions, "alias", away)
            return ask(context, scores)

        if fault == "missing":
            kept.rename(tmp_path / "away")
        else:
            outage.setattr(promotion, "against_registry", ask_in_the_outage)
        with pytest.raises(UserError):
            decided(context, second, scores)
    if fault == "missing":
        (tmp_path / "away").rename(kept)
    assert alias(context, CHAMPION) == first
    decided(context, second, scores)
    assert alias(context, CHAMPION) == second


def test_a_resumed_decision_undoes_nobodys_rollback(context: Context, tmp_path: Path) -> None:
    weights, first_scores, first = policy(context, tmp_path, "a", 0.5)
    decided(context, first, first_scores)
    _, scores, second = policy(context, tmp_path, "b", 0.9)
    decided(context, second, scores, champion=weights)
    context.registry.champion.rollback("why not")
    assert decided(context, second, scores, champion=weights) == "promoted before"
    assert alias(context, CHAMPION) == first


def test_the_loops_evidence_is_kept_with_what_it_promotes(context: Context, tmp_path: Path) -> None:
    weights, first_scores, first = policy(context, tmp_path, "a", 0.5)
    decided(context, first, first_scores)
    _, scores, second = policy(context, tmp_path, "b", 0.9)
    found = gate.check(rows(_pairs(0.5)), rows(_pairs(0.9)), SPACES, context.config)
    after_decision(context, context.registry.versions.get(second), found, weights, scores)
    evidence = json.loads(context.registry.versions.get(second).tags["selfemo.promotion_evidence"])
    assert evidence["gains"]["sample"] == asdict(found.gains["sample"])


def test_a_champion_without_a_scored_turn_is_not_replaced_for_that(context: Context, tmp_path: Path) -> None:
    _, first_scores, first = policy(context, tmp_path, "a", 0.5, turns=0)
    decided(context, first, first_scores)
    _, scores, second = policy(context, tmp_path, "b", 0.9)
    assert "no scores" in decided(context, second, scores)
    assert alias(context, CHAMPION) == first


def test_what_the_guard_stopped_is_promoted_by_hand_with_a_reason_only(context: Context, tmp_path: Path) -> None:
    weights, scores, version = policy(context, tmp_path, "a", 1.0)
    tags = {"selfemo.scores": scores, "selfemo.stopped": "collapse: label entropy 0.01 is below 0.2"}
    context.registry.versions.register(weights, context.registry.round(1), tags)
    with pytest.raises(GateClosed, match=r"the guard stopped it: collapse: label entropy 0\.01"):
        promote_version(Context(context.config), version)
    assert alias(context, CHAMPION) is None
    promote_version(Context(context.config), version, force=True, reason="a joke of the demo's")
    assert alias(context, CHAMPION) == version
    assert context.registry.versions.get(version).tags["selfemo.promotion_forced"] == "true"


def test_a_policy_that_is_evaluated_anew_is_compared_by_its_newest_scores(context: Context, tmp_path: Path) -> None:
    weights, first_scores, first = policy(context, tmp_path, "a", 0.5)
    decided(context, first, first_scores)
    _, better, _ = policy(context, tmp_path, "again", 0.9)
    context.registry.versions.register(weights, context.registry.round(1), {"selfemo.scores": better})
    _, _, second = policy(context, tmp_path, "b", 0.7)
    with pytest.raises(GateClosed):
        promote_version(Context(context.config), second)
    assert alias(context, CHAMPION) == first
