"""Of samples that are nearly alike, the filter keeps the most confident one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo import config as configuration
from selfemo.data.dialogue import Utterance
from selfemo.data.records import Rollout
from selfemo.method.flywheel.duplicates import NearDuplicates
from selfemo.method.flywheel.filtering import filter_rollouts
from selfemo.method.flywheel.texts import distinct_n, shingles
from tests.spaces import SPACES
from tests.unit.flywheel.rollouts import EVERYTHING, candidate, expression, understanding


def test_near_duplicates_of_a_more_confident_sample_go() -> None:
    words = "I told you a hundred times that the green boat belongs to my old uncle from the north coast"
    first = understanding(["joy"] * 7 + ["fear"], "a", words + " today")
    second = understanding(["joy"] * 6 + ["fear"] * 2, "b", words + " here")
    other = understanding(["fear"] * 6 + ["joy"] * 2, "c", "There is somebody in the cellar, I can hear steps")
    kept = filter_rollouts(
        [second, first, other], SPACES, configuration.load(None, [*EVERYTHING, "flywheel.tau_low=0.3"])
    )
    assert [s.parents for s in kept.samples] == [("a",), ("c",)]
    assert kept.reasons["understanding"]["duplicate"] == 1


def turn(name: str, *texts: str, label: str = "joy", corpus: str = "sample") -> Rollout:
    """What is read in the last of some turns."""
    history = tuple(Utterance(speaker=f"speaker {i % 2}", text=text) for i, text in enumerate(texts))
    other = next(x for x in SPACES[corpus].labels if x != label)
    found = understanding([label] * 7 + [other], name, corpus=corpus)
    return found.model_copy(update={"history": history})


LONG = "You have to see this with your own eyes, all of you, right now!"
SAME = "I can not believe it at all."


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (
            turn("a", "Where were you all night long?", "I slept.", "You did?"),
            turn("b", "Where were you all night long?", "I slept.", "You did?", "I did.", label="anger"),
            True,
        ),
        (turn("a", LONG, "No."), turn("b", LONG, "No.", "Why?"), True),
        (turn("a", "We won!", SAME), turn("b", "He died.", SAME), False),
        (turn("a", "We won!", "Oh my God!"), turn("b", "He died.", "Oh my God!", label="fear"), True),
        (turn("a", "We won!", "Oh my God!"), turn("b", "Hey.", "We won!", "Oh my God."), False),
        (turn("a", "Why?", "..."), turn("b", "He died.", "?!", label="sadness"), True),
        (turn("a", "😀"), turn("b", "😭", label="sadness"), True),
        (turn("a", "We won!", "😀"), turn("b", "We won!", "😭", label="sadness"), True),
        (turn("a", "We won!", "😀"), turn("b", "We won.", " 😀"), False),
        (turn("a", "😀", "Why?"), turn("b", "😭", "Why?", label="sadness"), True),
        (turn("a", "Hello."), turn("b", "Hello!"), False),
        (turn("a", SAME), turn("b", SAME, label="joyful", corpus="emorynlp"), True),
    ],
    ids=[
        "neighbours",
        "neighbours after a long turn",
        "the same turn elsewhere",
        "a short turn elsewhere",
        "a short turn after the same",
        "no words",
        "a dialogue's first without words",
        "other signs after the same",
        "the same sign after the same",
        "a short turn after other signs",
        "a dialogue's first",
        "another corpus has other labels",
    ],
)
def test_duplicates_are_told_by_the_turn_that_is_learnt(first: Rollout, second: Rollout, both: bool) -> None:
    kept = filter_rollouts([first, second], SPACES, configuration.load(None, EVERYTHING))
    assert [s.parents[0] for s in kept.samples] == ["a", "b"][: 1 + both]


def test_a_reply_is_a_duplicate_of_another_whatever_it_replies_to() -> None:
    sure, less = candidate("I do not know."), candidate("I do not know!", sure=0.9)
    said = [
        expression(sure, candidate("So what?", "fear", 0.1), name="a"),
        expression(less, candidate("Who cares?", "fear", 0.1), name="b"),
    ]
    said[1] = said[1].model_copy(update={"history": (Utterance(speaker="Mara", text="Where is my hat?"),)})
    kept = filter_rollouts(said, SPACES, configuration.load(None, EVERYTHING))
    assert kept.reasons["expression"] == Counter(kept=1, duplicate=1, low_reward=2)


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=9).map(frozenset), max_size=25),
    st.sampled_from([0.05, 0.5, 2 / 3, 0.8, 1.0]),
)
def test_the_index_finds_every_near_duplicate_and_no_other(sets: list[frozenset[str]], threshold: float) -> None:
    index, kept = NearDuplicates(threshold), list[frozenset[str]]()
    for one in sets:
        near = any(len(one & other) >= threshold * len(one | other) for other in kept)
        assert index.near(one) == near
        if not near:
            index.add(one)
            kept.append(one)


def test_shingles_and_distinct_n() -> None:
    assert shingles("One two three, four") == {"one two three", "two three four"}
    assert shingles("Hi") == {"hi"}
    assert shingles("😀") != shingles("😭")
    assert distinct_n(["a b c", "a b"], 2) == pytest.approx(2 / 3)
    assert distinct_n([], 2) == 0
