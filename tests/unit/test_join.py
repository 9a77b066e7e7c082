"""What came back, into the data of a run: who learns from whom, and what is never learnt from."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.corpora import Corpora
from selfemo.data.corrections import Correction, collected_id
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.divide import Division
from selfemo.data.join import Joined, is_held_out, join
from selfemo.data.labels import LabelSpace

SPACES = {"talk": LabelSpace("talk", ("calm", "joy", "anger"))}


def dialogue(name: str, *said: str, gold: str | None = None, split: str = "train") -> Dialogue:
    texts = said or (f"This is the first line of {name}.", f"And this is the second line of {name}.")
    turns = tuple(Utterance(speaker="AB"[n % 2], text=t, gold=(gold,) if gold else None) for n, t in enumerate(texts))
    return Dialogue(id=name, corpus="talk", split=split, turns=turns)


def collected(key: str, *said: str) -> Dialogue:
    return dialogue(collected_id("talk", key), *said)


def correction(name: str, turn: int = 1, *labels: str) -> Correction:
    when = datetime(2026, 11, 1, tzinfo=UTC)
    return Correction(dialogue=name, turn=turn, labels=labels or ("joy",), who="ada", when=when, source="review")


POOL = [dialogue(f"talk/train/{n}", gold="calm") for n in range(6)]
DEV = [dialogue(f"talk/dev/{n}", gold="calm", split="dev") for n in range(3)]


def joined(
    came: list[Dialogue], corrections: list[Correction], share: float = 0.0, held_out: list[Dialogue] | None = None
) -> Joined:
    """With the first dialogue of the pool as what the warm-up has drawn."""
    corpora = Corpora(POOL, DEV, 0, [], POOL, DEV)
    scored = DEV if held_out is None else held_out
    pool = [d for d in POOL if d not in scored]
    return join(Division(pool, [pool[0].id], scored, 0), corpora, came, corrections, SPACES, share=share, seed=7)


def test_nothing_came_and_nothing_changes() -> None:
    found = joined([], [])
    assert (found.training, found.warmup, found.held_out, found.leaked) == (POOL, [POOL[0].id], [], 0)


def test_conversations_join_the_pool_and_corrected_ones_are_gold() -> None:
    came = [collected("a"), collected("b")]
    found = joined(came, [correction(came[0].id)])
    assert [d.hidden() for d in found.training] == [d.hidden() for d in (*POOL, *came)]
    assert found.warmup == sorted([POOL[0].id, came[0].id])
    assert [turn.gold for turn in found.training[-2].turns] == [None, ("joy",)]
    assert found.joined == 2 and [row.who for row in found.used] == ["ada"]


@given(st.sets(st.text("abcdefgh", min_size=1, max_size=4), max_size=30), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_what_is_held_out_is_said_by_its_name_and_learnt_from_in_no_cycle(keys: set[str], share: float) -> None:
    """Whether it is corrected yet or not: a cycle before its correction must not have learnt from it."""
    came = [collected(key) for key in sorted(keys)]
    every = [correction(d.id) for d in came]
    for corrections in ([], every[::2], every):
        found = joined(came, corrections, share)
        about = {row.dialogue for row in corrections}
        assert {d.id for d in found.held_out} == {d.id for d in came if is_held_out(d.id, share, 7)} & about
        assert not {d.id for d in found.training} & {d.id for d in came if is_held_out(d.id, share, 7)}
        assert {d.id for d in found.training} >= {d.id for d in came if not is_held_out(d.id, share, 7)}
        assert {turn.gold for d in found.held_out for turn in d.turns} <= {None, ("joy",)}


def test_about_the_share_is_held_out() -> None:
    ids = [collected_id("talk", str(n)) for n in range(2000)]
    assert sum(is_held_out(i, 0.25, 7) for i in ids) == pytest.approx(500, abs=80)
    assert not any(is_held_out(i, 0.0, 7) for i in ids)


def test_copies_of_what_is_held_out_are_not_learnt() -> None:
    apart = next(key for key in map(str, range(99)) if is_held_out(collected_id("talk", key), 0.5, 7))
    learn = [key for key in map(str, range(99)) if not is_held_out(collected_id("talk", key), 0.5, 7)]
    same = "We said exactly these words to each other."
    came = [
        collected(apart, same),
        collected(learn[0], same.upper(), "And then something else was said."),
        collected(learn[1], DEV[0].turns[0].text, "This is new to everybody here, really."),
    ]
    found = joined(came, [], 0.5)
    left = {d.id: [turn.text for turn in d.turns] for d in found.training}
    assert left[came[1].id] == ["And then something else was said."]
    assert left[came[2].id] == ["This is new to everybody here, really."]
    assert found.leaked == 2


def test_turns_are_counted_before_copies_are_removed() -> None:
    came = [collected("a", DEV[0].turns[0].text, "This one was joyful all the same, you know.")]
    found = joined(came, [correction(came[0].id, 1)])
    assert [(turn.text, turn.gold) for turn in found.training[-1].turns] == [(came[0].turns[1].text, ("joy",))]


def test_corrections_of_a_corpus_show_no_gold_that_the_run_has_not_drawn() -> None:
    drawn, other = POOL[0].id, POOL[3].id
    found = joined([], [correction(drawn), correction(other)])
    gold = {d.id: [turn.gold for turn in d.turns] for d in found.training}
    assert gold[drawn] == [("calm",), ("joy",)] and gold[other] == [None, ("joy",)]
    assert found.warmup == [drawn, other]
    assert [d.id for d in found.training] == [d.id for d in POOL]


def test_what_is_held_out_stays_as_it_is() -> None:
    selection = [POOL[5]]
    found = joined([], [correction(DEV[0].id), correction(POOL[5].id)], held_out=selection)
    assert [why for _, why in found.unused] == ["the dialogue is held out"] * 2
    assert POOL[5].id not in {d.id for d in found.training} and not found.used
