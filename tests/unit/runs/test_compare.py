"""``selfemo compare``: which of two is better by the gate's own test, where, and what differed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from selfemo import hardware
from selfemo.cli import main
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.method import gate
from selfemo.registry.promotion import decisions
from selfemo.runs.differences import Comparison, compare
from selfemo.runs.sides import side
from tests.unit.runs.made import Made


def compared(context: Context, first: str, second: str) -> Comparison:
    return compare(side(context, first), side(context, second), context.config)


def test_the_result_is_what_the_gate_says_of_the_same_two(made: Made, context: Context) -> None:
    """Round 1 was promoted over round 0 by the gate, whose evidence lies in the decision."""
    found = compared(context, "hotter:0", "hotter").corpora[0]
    decision = decisions(Context(made.config("hotter")))[1]
    assert decision.result["promoted"]
    evidence = gate.Decision.from_dict(decision.result).gains["sample"]
    assert found.figures[0].gain == evidence
    assert found.figures[0].name == gate.MICRO  # gold of the sample corpus has sets
    assert found.better == "second"
    assert [figure.name for figure in found.figures[:4]] == [gate.MICRO, gate.WEIGHTED, gate.ACCURACY, gate.MACRO]
    for figure in found.figures[:4]:
        assert figure.gain is not None and figure.first is not None and figure.second is not None
        assert figure.second - figure.first == pytest.approx(figure.gain.gain)


def test_the_other_way_round_it_is_the_first_that_is_better(context: Context) -> None:
    there, back = compared(context, "plain", "hotter").corpora[0], compared(context, "hotter", "plain").corpora[0]
    assert (there.better, back.better) == ("second", "first")
    ours, theirs = there.figures[0].gain, back.figures[0].gain
    assert ours is not None and theirs is not None
    assert (theirs.gain, theirs.low, theirs.high) == pytest.approx((-ours.gain, -ours.high, -ours.low))
    assert theirs.p == ours.p <= gate.ALPHA


def test_a_gain_that_may_be_chance_makes_neither_better(context: Context) -> None:
    found = compared(context, "plain:0", "plain:1").corpora[0]
    assert found.figures[0].gain is not None and found.figures[0].gain.gain > 0
    assert found.better == "neither"
    same = compared(context, "plain", "plain").corpora[0]
    assert (same.better, same.changed) == ("neither", ())


def test_labels_and_turns_say_where_it_is_better(context: Context) -> None:
    found = compared(context, "plain", "hotter").corpora[0]
    assert sum(label.support for label in found.labels) == found.turns
    assert all(label.low <= label.second - label.first <= label.high for label in found.labels)
    became = [turn.became for turn in found.changed]
    assert became.count("better") == len(became) > 0  # what the first reads right, the second does
    assert {turn.dialogue for turn in found.changed} <= {r.dialogue for r in side(context, "plain").predictions}


def test_what_differed_is_told_key_by_key_and_what_is_the_same_is_not(made: Made, context: Context) -> None:
    found = compared(context, "plain", "hotter")
    assert [(d.what, d.first, d.second) for d in found.settings] == [("selfplay.temperature", "1.0", "0.9")]
    assert (found.data, found.code, found.machines) == ((), (), ())
    assert found.machine == f"{hardware.describe()}; not recorded"  # what is made up has no machine


def test_runs_that_share_no_held_out_turn_are_not_compared_on_that_corpus(context: Context) -> None:
    found = compared(context, "few", "plain")
    (corpus,) = found.corpora
    assert (corpus.better, corpus.turns) == ("", 0)
    assert "no held-out turn is in both" in corpus.why_not
    assert corpus.only_first and corpus.only_second
    assert {d.what for d in found.data} >= {"data"}


def test_a_round_that_is_not_there_is_refused_with_those_that_are(context: Context) -> None:
    with pytest.raises(UserError, match="round '7' is none") as error:
        side(context, "plain:7")
    assert error.value.fix == "decided are 0, 1"
    with pytest.raises(UserError, match="no run 'x'"):
        side(context, "x:1")


def test_a_run_of_another_store_is_refused_with_its_place(made: Made, context: Context) -> None:
    other = context.config.store.model_copy(update={"root": (made.folder / "other").as_uri()})
    with pytest.raises(UserError, match="lies in another store") as error:
        side(Context(context.config.model_copy(update={"store": other})), "plain")
    assert str(error.value.fix).endswith((made.folder / "store").as_uri())


def test_the_command_says_which_is_better_and_shows_the_turns(made: Made) -> None:
    settings = [word for setting in made.settings for word in ("--set", setting)]
    shown = CliRunner().invoke(main, ["compare", "plain", "hotter", "--turns", "1", *settings])
    assert shown.exit_code == 0, shown.output
    assert "sample: hotter:1 is better: +" in shown.stdout
    assert shown.stdout.count("  better ") == 1 and "more: --turns" in shown.stdout
    assert "selfplay.temperature" in shown.stdout
    assert f"\nmachine: {hardware.describe()}; not recorded\n" in shown.stdout  # which is not said to be the same
    told = json.loads(CliRunner().invoke(main, ["compare", "plain", "hotter", "--json", *settings]).stdout)
    assert told["corpora"][0]["better"] == "second"
    assert {turn["became"] for turn in told["corpora"][0]["changed"]} == {"better"}
    same = CliRunner().invoke(main, ["compare", "plain", "plain", "--turns", "0", *settings])
    assert same.stdout.startswith(f"both names are of one policy, {told['first']}: ")
    unknown = CliRunner().invoke(main, ["compare", "plain", "x", *settings])
    assert unknown.exit_code == 2 and "name one of these: " in unknown.stderr
