"""The gate against what it promises."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfemo import config as configuration
from selfemo.data.divide import LEAST_DIALOGUES
from selfemo.data.records import Prediction
from selfemo.errors import UserError
from selfemo.method import gate
from selfemo.method.evaluation import confusion
from selfemo.method.gate import Decision
from selfemo.method.tallies import scores_of, tallies
from tests.spaces import MELD, SPACES
from tests.unit.test_evaluation import CONFIG, _pairs, rows


def test_a_better_challenger_is_promoted_and_the_evidence_is_kept() -> None:
    decision = gate.check(rows(_pairs(0.5)), rows(_pairs(0.7)), SPACES, CONFIG)
    assert decision.promoted
    found = decision.gains["sample"]
    assert found.p <= gate.ALPHA
    assert 0 < found.low <= found.gain <= found.high
    assert found.dialogues == 80
    assert f"p {found.p:.4f}" in decision.reason  # the test decides, the interval stands beside it
    assert f"[{found.low:+.3f}, {found.high:+.3f}]" in decision.reason
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision


def test_a_champion_that_an_older_version_evaluated_can_be_compared_with() -> None:
    old = [
        Prediction.model_validate(row.model_dump(exclude={"posterior"}) | {"schema_version": "selfemo.scored/1"})
        for row in rows(_pairs(0.5))
    ]
    assert gate.check(old, rows(_pairs(0.7)), SPACES, CONFIG).promoted


def test_equal_or_uncertain_challengers_are_not() -> None:
    same = rows(_pairs(0.5))
    equal = gate.check(same, same, SPACES, CONFIG)
    assert not equal.promoted
    assert equal.gains["sample"].p == 1
    unsure = gate.check(rows(_pairs(0.5, 30)), rows(_pairs(0.54, 30)), SPACES, CONFIG)
    assert unsure.gains["sample"].gain > 0
    assert not unsure.promoted
    assert "p 0.5000" in unsure.reason  # one dialogue of ten differs: it may as well have been the other way round


def counted(right: dict[int, int], dialogues: int) -> list[Prediction]:
    """Answers in dialogues of six turns, of which a number are right: three where none is told."""
    golds = ("joy", "fear") * 3
    return rows([(g, g if i < right.get(d, 3) else "anger") for d in range(dialogues) for i, g in enumerate(golds)], 6)


def test_the_permutation_test_decides_and_not_the_interval() -> None:
    unsure = gate.check(counted({}, 8), counted(dict.fromkeys(range(5), 6), 8), SPACES, CONFIG)
    assert unsure.gains["sample"].low > 0.1  # five of eight dialogues gain, none falls, so no resample falls
    assert unsure.gains["sample"].p == 2**-5
    assert not unsure.promoted
    # 24 dialogues gain a turn each and one loses six: resamples that draw that one thrice or more fall, swaps hardly do
    gaining = range(1, 25)
    before, after = {0: 6} | dict.fromkeys(gaining, 2), {0: 0} | dict.fromkeys(gaining, 3)
    sure = gate.check(counted(before, 60), counted(after, 60), SPACES, CONFIG)
    assert sure.gains["sample"].low < 0
    assert sure.gains["sample"].p < 0.02
    assert sure.promoted


def test_few_dialogues_are_no_evidence_however_large_the_gain() -> None:
    for dialogues in (1, 2, LEAST_DIALOGUES - 1):
        worse, better = _pairs(0.0, 3 * dialogues), _pairs(1.0, 3 * dialogues)
        decision = gate.check(rows(worse), rows(better), SPACES, CONFIG)
        assert not decision.promoted
        assert f"{dialogues} dialogues of sample" in decision.reason
        assert f"at least {LEAST_DIALOGUES}" in decision.reason
    enough = 3 * LEAST_DIALOGUES
    assert gate.check(rows(_pairs(0.0, enough)), rows(_pairs(1.0, enough)), SPACES, CONFIG).promoted


def test_a_gain_must_also_be_as_large_as_the_run_asks_for() -> None:
    before, after = rows(_pairs(0.5)), rows(_pairs(0.7))
    asked = gate.check(before, after, SPACES, configuration.load(None, ["gate.min_gain=0.5"]))
    assert not asked.promoted
    assert asked.gains["sample"].p <= gate.ALPHA
    assert "not above 0.5" in asked.reason


def test_an_open_gate_promotes_what_does_not_fall_too_far() -> None:
    settings = configuration.load(None, ["gate.min_gain=-1", "gate.max_drop=0.1"])
    before = rows(_pairs(0.5, 6))
    assert gate.check(
        before, before, SPACES, settings
    ).promoted  # two dialogues, no gain: a study looks at every policy
    assert not gate.check(rows(_pairs(0.9)), rows(_pairs(0.5)), SPACES, settings).promoted


def test_the_p_value_counts_the_swaps_of_labels_that_gain_as_much() -> None:
    rng = np.random.default_rng(5)
    pairs = [[(MELD.labels[rng.integers(3)], MELD.labels[rng.integers(3)]) for _ in range(24)] for _ in range(2)]
    golds = [gold for gold, _ in pairs[0]]
    pairs[1] = [(gold, said) for gold, (_, said) in zip(golds, pairs[1], strict=True)]
    old, new = (confusion(rows(list(p)), MELD) for p in pairs)

    def gain(swapped: tuple[bool, ...]) -> float:
        mine = [b if s else a for a, b, s in zip(old, new, swapped, strict=True)]
        others = [a if s else b for a, b, s in zip(old, new, swapped, strict=True)]
        return float(scores_of(np.sum(others, 0)).weighted_f1 - scores_of(np.sum(mine, 0)).weighted_f1)

    every = [gain(s) for s in itertools.product((False, True), repeat=len(old))]
    assert len(every) == 256
    assert gate.p_value(tallies(old), tallies(new), 1) == pytest.approx(np.mean([g >= every[0] - 1e-12 for g in every]))


def test_a_random_part_of_the_swaps_stands_for_them_all_where_there_are_too_many() -> None:
    old, new = confusion(rows(_pairs(0.5, 90)), MELD), confusion(rows(_pairs(0.55, 90)), MELD)
    assert gate.p_value(tallies(old), tallies(new), 1) == gate.p_value(
        tallies(old), tallies(new), 1
    )  # a fixed seed: the same evidence
    # Two dialogues differ, both for the better: of four assignments of labels, one gains as much.
    assert gate.p_value(tallies(old), tallies(new), 1) == pytest.approx(0.25, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(8, 11))
def test_swapping_champion_and_challenger_turns_the_evidence_round(seed: int, dialogues: int) -> None:
    rng = np.random.default_rng(seed)
    old, new = rng.integers(0, 3, (2, dialogues, len(MELD), len(MELD) + 1))
    p, back = gate.p_value(tallies(old), tallies(new), seed), gate.p_value(tallies(new), tallies(old), seed)
    assert 2.0**-dialogues <= p <= 1
    assert p + back >= 1  # the assignment at hand counts for both


def test_a_fall_on_any_corpus_closes_the_gate() -> None:
    before = rows(_pairs(0.5)) + rows(_pairs(0.7), corpus="meld")
    after = rows(_pairs(0.8)) + rows(_pairs(0.6), corpus="meld")
    decision = gate.check(before, after, SPACES, CONFIG)
    assert not decision.promoted
    assert "meld fell" in decision.reason
    assert gate.check(before, after, SPACES, configuration.load(None, ["gate.max_drop=0.5"])).promoted


def on_meld(scored: list[Prediction]) -> list[Prediction]:
    return [row.model_copy(update={"corpus": "meld"}) for row in scored]


@pytest.mark.parametrize("fallen", [1, 3])
def test_a_fall_on_another_corpus_that_may_be_chance_does_not_close_it(fallen: int) -> None:
    """If the two are alike, each of these falls comes by chance: with one dialogue in every second comparison."""
    before = on_meld(counted({}, 8)) + rows(_pairs(0.5))
    after = on_meld(counted(dict.fromkeys(range(fallen), 0), 8)) + rows(_pairs(0.7))
    decision = gate.check(before, after, SPACES, CONFIG)
    assert decision.gains["meld"].gain < -CONFIG.gate.max_drop
    assert decision.gains["meld"].p_drop == 2**-fallen
    assert decision.promoted and "on meld fell by" in decision.reason
    assert decision.reason.endswith(f"(p of a fall {2**-fallen:.4f}), which may be chance")
    assert decision.cells()[1][3].endswith(f"(of a fall {2**-fallen:.4f})")
    few = on_meld(counted(dict.fromkeys(range(4), 0), 8)) + rows(_pairs(0.7))
    assert gate.check(before, few, SPACES, CONFIG).reason.endswith("(p of a fall 0.0625)")
    assert list(decision.gains) == ["sample", "meld"]  # the gate corpus first, whatever the rows begin with


def test_an_open_gate_asks_no_test_of_a_fall_either() -> None:
    settings = configuration.load(None, ["gate.min_gain=-1"])
    before, after = rows(_pairs(0.5)) + on_meld(counted({}, 8)), rows(_pairs(0.7)) + on_meld(counted({0: 0}, 8))
    assert not gate.check(before, after, SPACES, settings).promoted


def test_the_gate_corpus_is_the_configurations_first_not_the_first_of_the_rows() -> None:
    settings = configuration.load(None, ["corpora=[{name: meld, path: x}, {name: sample}]"])
    before = rows(_pairs(0.5)) + rows(_pairs(0.5), corpus="meld")
    only_sample_gains = rows(_pairs(0.8)) + rows(_pairs(0.5), corpus="meld")
    assert not gate.check(before, only_sample_gains, SPACES, settings).promoted
    only_meld_gains = rows(_pairs(0.5)) + rows(_pairs(0.8), corpus="meld")
    decision = gate.check(before, only_meld_gains, SPACES, settings)
    assert decision.promoted
    assert "meld" in decision.reason


def test_what_was_not_scored_on_the_same_corpora_cannot_be_compared() -> None:
    both = rows(_pairs(0.5)) + rows(_pairs(0.5), corpus="meld")
    sample = rows(_pairs(0.8))
    for champion, challenger in ((both, sample), (sample, both)):  # a corpus left out is a fall that nobody sees
        with pytest.raises(UserError, match="different turns"):
            gate.check(champion, challenger, SPACES, CONFIG)
    with pytest.raises(UserError, match="no turn of sample, the gate corpus"):
        gate.check(rows(_pairs(0.5), corpus="meld"), rows(_pairs(0.8), corpus="meld"), SPACES, CONFIG)


def test_the_first_policy_needs_no_gate_and_different_turns_cannot_be_compared() -> None:
    assert gate.check([], rows(_pairs(0.1)), SPACES, CONFIG).promoted
    with pytest.raises(UserError, match="different turns"):
        gate.check(rows(_pairs(0.5, 60)), rows(_pairs(0.5, 66)), SPACES, CONFIG)


PASSED = Decision(True, "gain on sample")


def test_a_drop_on_what_people_corrected_keeps_the_champion() -> None:
    decision = gate.with_corrections(PASSED, rows(_pairs(0.7)), rows(_pairs(0.5)), SPACES, CONFIG)
    assert not decision.promoted and "on corrected turns of sample fell by" in decision.reason
    assert decision.gains["sample, corrected"].gain < -CONFIG.gate.max_drop


def test_a_drop_on_what_people_corrected_that_may_be_chance_does_not() -> None:
    decision = gate.with_corrections(PASSED, counted({}, 8), counted({0: 0}, 8), SPACES, CONFIG)
    assert decision.gains["sample, corrected"].gain < -CONFIG.gate.max_drop and decision.promoted
    assert "on corrected turns of sample fell by" in decision.reason and "may be chance" in decision.reason


def test_a_gain_on_what_people_corrected_promotes_nobody() -> None:
    old, new = rows(_pairs(0.5)), rows(_pairs(0.7))
    kept = Decision(False, "it may be chance")
    assert gate.with_corrections(PASSED, old, new, SPACES, CONFIG).promoted
    decision = gate.with_corrections(kept, old, new, SPACES, CONFIG)
    assert (decision.promoted, decision.reason) == (False, kept.reason)
    assert gate.with_corrections(PASSED, [], [], SPACES, CONFIG) == PASSED


def test_too_few_corrected_dialogues_are_said_and_decide_nothing() -> None:
    decision = gate.with_corrections(PASSED, counted({}, 7), counted(dict.fromkeys(range(7), 0), 7), SPACES, CONFIG)
    assert decision.promoted and "7 corrected dialogues of sample decide nothing: it takes 8" in decision.reason
    assert not gate.with_corrections(
        PASSED, counted({}, 8), counted(dict.fromkeys(range(8), 0), 8), SPACES, CONFIG
    ).promoted


def test_corrected_turns_have_to_be_the_same_for_both() -> None:
    with pytest.raises(gate.NotComparable):
        gate.with_corrections(PASSED, counted({}, 8), counted({}, 9), SPACES, CONFIG)
