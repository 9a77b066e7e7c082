"""Rounds that keep nothing, or that show a collapse, do not change the champion."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.report.component import report
from selfemo import processes, steps
from selfemo.config import Config
from selfemo.config.sections import GuardSettings
from selfemo.context import Context
from tests.component import plain
from tests.conftest import there


def test_a_round_that_keeps_nothing_stops_the_loop_and_keeps_the_champion(small_local: Config, tmp_path: Path) -> None:
    from selfemo import config as configuration
    from selfemo import steps

    nothing = configuration.Config.model_validate(
        small_local.model_dump() | {"flywheel": {"tau_low": 1.0}, "warmup": {"dialogues": 0}}
    )
    text = nothing.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    assert there(Context(nothing).store.manifest(policy)).result["dialogues"] == 0
    scores = plain.scores(text, policy, data, 0)
    champion = plain.decide(text, "", "", 0, policy, scores, 0)[0]
    assert champion == Context(nothing).policies.find(policy).uri  # the base's copy, not the record that stands for it
    scored = Context(nothing).store.manifest(scores)
    assert scored is not None and scored.inputs["policy"] == champion
    samples = plain.samples(text, plain.rollouts(text, champion, data, 1), 1)
    challenger = plain.train(text, champion, samples, data, 1)
    new_scores = plain.scores(text, challenger, data, 1)  # it stands for the policy itself
    assert new_scores == scores  # the champion was evaluated on the same dialogues before
    run = Context(nothing).registry.client.get_run(Context(nothing).registry.round(1))
    assert run.data.metrics["eval/sample/weighted_f1"] == scored.result["weighted_f1"]
    assert Context(nothing).policies.find(challenger).uri == champion  # wherever it is named
    after = plain.decide(text, champion, scores, 0, challenger, new_scores, 1)
    assert after == (champion, scores, 1, False)
    first, second = steps.finished_rounds(Context(nothing))
    assert (second.weighted_f1, second.accuracy) == (first.weighted_f1, first.accuracy)
    files = (tmp_path / "store").glob("*/round-1/*/manifest.json")
    made = {file.parent.name.split("-")[0]: json.loads(file.read_text())["result"] for file in files}
    assert made.keys() == {"generate", "gather", "filter", "train", "decide"}
    seconds = sum(made[step]["seconds"] for step in ("gather", "filter", "train")) + made["gather"]["shard_seconds"]
    assert second.seconds == pytest.approx(seconds, abs=0.06)  # those of the evaluation are round 0's


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ("guard.min_eligible=1", "share of eligible candidates"),
        ("guard.min_label_entropy=9", "label entropy of the predictions"),
    ],
)
def test_a_round_whose_rollouts_show_a_collapse_is_stopped_and_marked(
    small_local: Config, bound: str, words: str
) -> None:
    from selfemo import config as configuration
    from selfemo import steps

    section, _, value = bound.partition("=")
    guard = {section.removeprefix("guard."): float(value)}
    collapsed = configuration.Config.model_validate(small_local.model_dump() | {"guard": guard})
    text = collapsed.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    scores = plain.scores(text, policy, data, 0)
    assert plain.decide(text, "", "", 0, policy, scores, 0)[0] == policy  # nothing to go back to
    samples = plain.samples(text, plain.rollouts(text, policy, data, 1), 1)
    challenger = plain.train(text, policy, samples, data, 1)
    after = plain.decide(text, policy, scores, 0, challenger, plain.scores(text, challenger, data, 1), 1)
    assert after == (policy, scores, 1, True)  # the next round plays other dialogues
    context = Context(collapsed)
    row = steps.finished_rounds(context)[1]
    assert row.stopped.startswith("collapse: ") and words in row.stopped
    assert row.rejected is not None
    run = context.registry.client.get_run(context.registry.round(1))
    assert run.data.tags["selfemo.stopped"] == row.stopped
    again = plain.decide(text, policy, scores, 0, challenger, plain.scores(text, challenger, data, 1), 1)
    assert again == after
    noted = context.registry.client.get_run(context.registry.round(1)).data.tags
    assert noted["selfemo.decided_at"] == run.data.tags["selfemo.decided_at"]  # nobody is woken a second time
    report.python_func(text, "", "", SimpleNamespace(state="SUCCEEDED", error_message=""))
    page = (Path(small_local.workdir) / "runs" / small_local.run / "report.html").read_text()
    assert "Round 1: stopped" in page and words in page


def test_a_challenger_with_one_label_for_everything_is_not_promoted(small_local: Config) -> None:
    from selfemo import steps

    strict = small_local.model_copy(update={"guard": GuardSettings(min_label_entropy=9)})
    text = strict.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    scores = plain.scores(text, policy, data, 0)
    lenient = small_local.to_json()
    samples = plain.samples(lenient, plain.rollouts(text, policy, data, 1), 1)
    challenger = plain.train(text, policy, samples, data, 1)
    new_scores = plain.scores(text, challenger, data, 1)
    plain.decide(text, "", "", 0, policy, scores, 0)
    after = plain.decide(text, policy, scores, 0, challenger, new_scores, 1)
    assert after == (policy, scores, 1, True)
    context = Context(strict)
    assert "label entropy on held-out turns" in steps.finished_rounds(context)[1].stopped
    version = context.registry.versions.get("2")
    assert version.source == challenger
    assert version.tags["selfemo.stopped"].startswith("collapse: ")


def test_a_rounds_cost_is_told_in_seconds_of_gpus(small_local: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs stand in for those that are not here: everything of a round counts, its shards included."""
    monkeypatch.setattr(processes, "accelerators", lambda: 2)
    config = small_local.model_copy(update={"loop": small_local.loop.model_copy(update={"rounds": 0})})
    text = config.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    scores = plain.scores(text, policy, data, 0)
    plain.decide(text, "", "", 0, policy, scores, 0)
    (row,) = steps.finished_rounds(Context(config))
    assert row.accelerator_seconds == pytest.approx(2 * row.seconds, abs=0.5)  # each is rounded
    registry = Context(config).registry
    assert registry.client.get_run(registry.parent).data.metrics["round/accelerator_seconds"] == row.accelerator_seconds
