"""What is held out is removed from training, whatever its spelling and its corpus."""

from __future__ import annotations

from pathlib import Path

from selfemo.config import load as load_config
from selfemo.data.corpora import leakage, load_corpus
from selfemo.data.corpora.rows import Rows
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.steps.prepare import corpora_of
from tests.unit.corpora.meld import GOOD, MELD_HEADER, write_meld


def _dialogue(name: str, *texts: str, split: str = "train", gold: str = "joy") -> Dialogue:
    turns = tuple(Utterance(speaker="A", text=t, gold=(gold,)) for t in texts)
    return Dialogue(id=name, corpus="meld", split=split, turns=turns)


def test_held_out_utterances_leave_training_whatever_their_spelling() -> None:
    held_out = [_dialogue("h", "Well, that is just great!", "What?", split="test")]
    training = [_dialogue("a", "well that is JUST great", "What?"), _dialogue("b", "Well that is just great...")]
    kept, removed = leakage.remove(training, held_out)
    assert removed == 2
    assert [(d.id, [u.text for u in d.turns]) for d in kept] == [("a", ["What?"])]  # short speech is common speech


def test_a_run_removes_leakage_across_corpora(tmp_path: Path) -> None:
    dialogue = next(d for d in load_corpus("sample", None, Rows()) if d.split == "dev")
    text = max((u.text for u in dialogue.turns), key=len)
    path = write_meld(tmp_path / "m", GOOD, f'2,"{text}",Ross,joy,x,1,0,1,1,a,b')
    (path / "dev_sent_emo.csv").write_text(MELD_HEADER + GOOD)
    corpora = corpora_of(load_config(None, [f"corpora=[{{name: sample}}, {{name: meld, path: {path}}}]"]))
    assert corpora.leaked == 2  # that one, and the train row that is in MELD's own dev split here
    assert {d.corpus for d in corpora.held_out} == {"sample", "meld"}


def test_a_split_that_is_not_scored_counts_as_well(tmp_path: Path) -> None:
    """`test` is for one last look: what it has is learnt from no sooner than what is scored."""
    kept = '2,"We should all go home now.",Ross,neutral,neutral,1,0,4,7,a,b'
    path = write_meld(tmp_path / "m", GOOD, kept)
    (path / "dev_sent_emo.csv").write_text(MELD_HEADER + kept.replace("We should all", "You and he"))
    (path / "test_sent_emo.csv").write_text(MELD_HEADER + GOOD)
    corpora = corpora_of(load_config(None, [f"corpora=[{{name: meld, path: {path}}}]"]))
    assert corpora.leaked == 1
    assert [u.text for d in corpora.training for u in d.turns] == ["We should all go home now."]
