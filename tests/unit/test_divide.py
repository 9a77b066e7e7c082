"""Nothing that is scored is learnt from, and what decides is drawn from every corpus."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.divide import LEAST_DIALOGUES, Division, divide, shares
from selfemo.errors import UserError
from tests.conftest import ROOT


def dialogue(corpus: str, number: int, *texts: str, gold: bool = True) -> Dialogue:
    said = texts or (f"this is what was said in dialogue {corpus} {number}",)
    turns = tuple(Utterance(speaker="A", text=t, gold=("neutral",) if gold else None) for t in said)
    return Dialogue(id=f"{corpus}/train/{number}", corpus=corpus, split="train", turns=turns)


def of(training: list[Dialogue], labelled: int = 0, selection: int = 0, least: int = 1) -> Division:
    return divide(training, [], labelled=labelled, selection=selection, least=least, seed=7)


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 60), min_size=1), st.integers(0, 200), st.integers(0, 5)
)
def test_shares_are_proportional_whole_and_not_beyond_what_there_is(
    sizes: dict[str, int], total: int, least: int
) -> None:
    given = shares(total, sizes, least)
    assert all(min(least, size) <= given[name] <= size for name, size in sizes.items())
    floor = sum(min(least, size) for size in sizes.values())
    assert sum(given.values()) == max(floor, min(total, sum(sizes.values())))
    if not least and total <= sum(sizes.values()) and total:
        assert all(abs(given[n] - total * s / sum(sizes.values())) < 1 for n, s in sizes.items())


def test_a_selection_is_drawn_from_each_corpus_in_proportion() -> None:
    training = [dialogue("meld", i) for i in range(60)] + [dialogue("emorynlp", i) for i in range(30)]
    divided = of(training, labelled=45, selection=24, least=8)
    assert Counter(d.corpus for d in divided.held_out) == {"meld": 16, "emorynlp": 8}
    assert len(divided.warmup) == 21
    assert not {d.id for d in divided.held_out} & {d.id for d in divided.training}


@pytest.mark.parametrize(("selection", "needed"), [(15, "16 or more"), (4, "16 or more")])
def test_a_selection_too_small_to_decide_on_is_refused_with_the_number_needed(selection: int, needed: str) -> None:
    training = [dialogue(c, i) for c in ("meld", "emorynlp") for i in range(60)]
    with pytest.raises(UserError, match=needed):
        of(training, labelled=40, selection=selection, least=8)


@pytest.mark.parametrize(("labelled", "selection", "needed"), [(1, 0, "2 or more"), (17, 16, "18 or more")])
def test_a_warm_up_too_small_for_every_corpus_is_refused_with_the_number_needed(
    labelled: int, selection: int, needed: str
) -> None:
    training = [dialogue(c, i) for c in ("meld", "emorynlp") for i in range(60)]
    with pytest.raises(UserError, match=r"warmup\.dialogues") as caught:
        of(training, labelled=labelled, selection=selection, least=8)
    assert needed in str(caught.value)


def test_a_corpus_with_too_few_labelled_dialogues_for_a_selection_is_named() -> None:
    training = [dialogue("meld", i) for i in range(60)] + [dialogue("emorynlp", i, gold=i < 3) for i in range(60)]
    with pytest.raises(UserError, match="emorynlp has 3 that are labelled"):
        of(training, labelled=40, selection=20, least=8)


def test_copies_of_what_is_kept_for_selection_are_not_learnt_from() -> None:
    """IEMOCAP reads its scripts again in every session: the same words, under other ids."""
    script = ("there is nothing for me here anymore", "you could at least have called me")
    training = [dialogue("meld", i, *script, f"and the take was number {i} of many") for i in range(12)]
    divided = of(training, labelled=6, selection=2)
    said = {turn.text for d in divided.training for turn in d.turns}
    assert not said & set(script)
    assert divided.copies == 10 * len(script)
    assert all(len(d.turns) == 1 for d in divided.training)


def test_a_warm_up_dialogue_that_is_all_copies_gives_its_place_to_the_next() -> None:
    pool = [dialogue("meld", i) for i in range(12)]
    before = of(pool, labelled=6, selection=2)
    first, turns = before.warmup[0], before.held_out[0].turns
    after = of([d.model_copy(update={"turns": turns}) if d.id == first else d for d in pool], labelled=6, selection=2)
    assert first not in after.warmup
    assert len(after.warmup) == 4


def test_a_corpus_that_is_all_copies_is_named() -> None:
    line = "every take of this scene has the same words"
    pool = [dialogue("meld", i) for i in range(12)] + [dialogue("emorynlp", i, line) for i in range(12)]
    with pytest.raises(UserError, match="no labelled dialogue of emorynlp is left"):
        of(pool, labelled=12, selection=4)


def test_no_training_left_is_an_error() -> None:
    same = [dialogue("meld", i, "every take of this scene has the same words") for i in range(6)]
    with pytest.raises(UserError, match="no training dialogues are left"):
        of(same, labelled=4, selection=2)


def test_a_warm_up_without_anything_to_learn_from_is_an_error() -> None:
    with pytest.raises(UserError, match="have 0 labelled dialogues, and none is left"):
        of([dialogue("meld", i, gold=False) for i in range(6)], labelled=4)
    assert of([dialogue("meld", i, gold=False) for i in range(6)]).warmup == []


def test_without_labelled_dialogues_none_is_set_apart() -> None:
    assert of([dialogue("meld", i) for i in range(6)]).warmup == []


PUBLISHED = {"meld": 1038, "emorynlp": 713, "iemocap6": 120}
"""Training dialogues of the corpora as their authors have them."""


@pytest.mark.parametrize(
    "file", ["configs/qwen3-4b.yaml", "configs/qwen3-8b.yaml", "manifests/overlays/prod/settings.yaml"]
)
def test_the_shipped_configurations_share_their_corpora_out_as_they_say(file: str) -> None:
    text = (ROOT / file).read_text()
    config = yaml.safe_load(text)
    drawn, kept = config["warmup"]["dialogues"], config["warmup"]["selection"]
    training = [dialogue(corpus, n) for corpus, size in PUBLISHED.items() for n in range(size)]
    assert [c["name"] for c in config["corpora"]] == list(PUBLISHED)
    division = of(training, drawn, kept, LEAST_DIALOGUES)
    scored = Counter(d.corpus for d in division.held_out)
    learnt = Counter(i.partition("/")[0] for i in division.warmup)
    m, e, i = (scored[c] for c in PUBLISHED)
    assert f"{m}, {e} and {i} of these" in text
    m, e, i = (scored[c] + learnt[c] for c in PUBLISHED)
    assert f"{m} of MELD, {e} of EmoryNLP and {i} of IEMOCAP" in text
    assert min(learnt.values()) >= 4
