"""Exact scoring of labels that begin or contain one another, of several tokens, in several scripts, 64 at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from selfemo.data.dialogue import Utterance
from selfemo.data.labels import LabelSpace
from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer

NESTED = LabelSpace(
    "nested",
    ("joy", "joyful", "joy of others", "高兴", "高", "不高兴", "खुशी", "no joy"),
    sets=(("joy", "joyful"), ("高", "高兴")),
)
MANY = LabelSpace("many", tuple(f"label {i}" for i in range(64)))
TURN = (Utterance(speaker="Ann", text="I am so glad!"),)


@pytest.mark.parametrize("space", [NESTED, MANY], ids=lambda space: space.name)
def test_the_likelihood_of_each_answer_is_that_of_its_tokens_and_its_end(space: LabelSpace, tiny: Path) -> None:
    tokenizer, model = load_tokenizer(str(tiny)), load_model(str(tiny))
    prompter = Prompter(tokenizer)
    prompt, answers = prompter.understanding(TURN, space), [prompter.answer(a) for a in space.answers]
    (found,) = TransformersEngine(model, tokenizer).log_likelihoods([prompt], [answers])
    plain = load_model(str(tiny))
    with torch.no_grad():
        for answer, score in zip(answers, found, strict=True):
            logs = plain(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
            alone = sum(logs[len(prompt) + i - 1, token].item() for i, token in enumerate(answer))
            assert score == pytest.approx(alone, abs=1e-3)
    (read,) = Player(TransformersEngine(model, tokenizer), prompter, "p").read([TURN], [space])
    assert read.shape == (len(space.answers),)
    assert read.sum() == pytest.approx(1)
    assert np.argsort(read).tolist() == np.argsort(found).tolist()


def test_two_spaces_of_one_name_are_asked_for_their_own_answers(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    player = Player(TransformersEngine(load_model(str(tiny)), tokenizer), Prompter(tokenizer), "p")
    few, more = LabelSpace("x", ("a", "b")), LabelSpace("x", ("a", "b", "c"))
    assert [len(read) for read in player.read([TURN, TURN], [few, more])] == [2, 3]
