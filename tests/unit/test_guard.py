"""The collapse guard says which figure fell past which bound, and nothing where there is nothing to judge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selfemo.config.sections import GuardSettings
from selfemo.method import guard
from selfemo.registry.rounds import RoundRow, cells
from selfemo.report.table import show_rounds

ROLLOUTS = {
    "candidates": 80,
    "predicted_entropy": 1.2,
    "declared_entropy": 1.1,
    "eligible": 0.3,
    "sampled_distinct_2": 0.9,
    "sampled_most_frequent": 0.05,
    "sampled_replies": 32,
}
HEALTHY = {"label_entropies": {"meld": 1.1}, "expression_answered": 0.9, "expression_distinct_2": 0.8}


def test_a_healthy_round_passes() -> None:
    assert guard.of_rollouts(ROLLOUTS, GuardSettings()) == ""
    assert guard.of_challenger(HEALTHY, GuardSettings()) == ""


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ("predicted_entropy", "label entropy of the predictions"),
        ("declared_entropy", "declared emotions"),
        ("eligible", "eligible candidates"),
        ("sampled_distinct_2", "distinct-2"),
    ],
)
def test_each_figure_of_the_rollouts_can_raise_the_alarm(figure: str, words: str) -> None:
    assert words in guard.of_rollouts(ROLLOUTS | {figure: 0.01}, GuardSettings())
    off = GuardSettings(min_label_entropy=0, min_eligible=0, min_distinct_2=0)
    assert guard.of_rollouts(ROLLOUTS | {figure: 0.0}, off) == ""


def test_all_that_is_past_its_bound_is_named() -> None:
    said = guard.of_rollouts(ROLLOUTS | {"predicted_entropy": 0.1, "eligible": 0.001}, GuardSettings())
    assert (
        said == "collapse: label entropy of the predictions 0.10 is below 0.3, "
        "share of eligible candidates 0.00 is below 0.02"
    )


def test_without_candidates_or_replies_there_is_nothing_to_judge() -> None:
    assert guard.of_rollouts({"candidates": 0}, GuardSettings()) == ""
    assert guard.of_rollouts({"candidates": 80, "eligible": 0.3}, GuardSettings()) == ""


def test_a_challenger_is_judged_by_what_it_answers() -> None:
    assert "held-out turns" in guard.of_challenger(
        HEALTHY | {"label_entropies": {"meld": 1.2, "emorynlp": 0.0}}, GuardSettings()
    )
    assert "held-out replies" in guard.of_challenger(HEALTHY | {"expression_distinct_2": 0.1}, GuardSettings())
    stock = HEALTHY | {"expression_most_frequent": 0.6, "expression_replies": 32}  # "No." has no pair of words
    assert "most frequent of held-out replies 0.60 is above 0.25" in guard.of_challenger(stock, GuardSettings())
    assert guard.of_challenger(stock, GuardSettings(max_most_frequent=1)) == ""
    assert guard.of_challenger(stock | {"expression_replies": 12}, GuardSettings()) == "", "a few tell nothing"
    said = guard.of_rollouts(ROLLOUTS | {"sampled_most_frequent": 0.6}, GuardSettings())
    assert said == "collapse: share of the most frequent of sampled replies 0.60 is above 0.25"
    unasked = {"label_entropies": {"meld": 1.1}}
    assert guard.of_challenger(unasked, GuardSettings()) == ""


def test_the_table_says_which_round_was_stopped_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    row = RoundRow(
        round=1,
        accepted=5,
        rejected=9,
        mean_reward=0.5,
        accuracy=0.5,
        weighted_f1=0.4,
        weighted_f1_interval=(0, 1),
        expression_own=None,
        expression_judge=None,
        seconds=3.0,
        promoted=False,
        stopped="collapse: too much of one",
    )
    assert cells(row)[-1] == "stopped"
    show_rounds([row], "t")
    assert capsys.readouterr().out.endswith("round 1 was stopped: collapse: too much of one\n")
    show_rounds([replace(row, stopped="")], "t")
    assert "was stopped" not in capsys.readouterr().out
