"""Self-training, the baseline of SELF-GRPO, learns the targets of samples."""

from __future__ import annotations

import json
from pathlib import Path

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue
from selfemo.method.prompts import Prompter
from selfemo.policy.weights import load_tokenizer
from selfemo.training import selftraining
from selfemo.training.examples import pseudo_labelled
from tests.spaces import SPACES
from tests.unit.training.samples import sample


def test_self_training_learns_the_targets_as_if_they_were_gold(
    warmed: Path, settings: Config, dialogues: list[Dialogue], tmp_path: Path
) -> None:
    grpo = settings.grpo.model_copy(update={"replay": 1, "learning_rate": 0.003, "epochs": 6})
    config = settings.model_copy(update={"grpo": grpo})
    said = [sample(i, target="fear") for i in range(3)]
    said.append(sample(3, "expression").model_copy(update={"reply": "Hooray!"}))
    gold = [d for d in dialogues if d.split == "train"][:2]
    steps = selftraining.self_training(str(warmed), said, gold, SPACES, config, tmp_path / "w", tmp_path / "out")
    prompter = Prompter(load_tokenizer(str(warmed)))
    example = pseudo_labelled(said, SPACES, prompter, config)[0]
    assert example.answers[0] == prompter.answer(["fear"])
    assert example.answers[3] == prompter.answer(["joy"], "Hooray!")
    assert steps >= 6
    losses = [row["loss"] for row in json.loads((tmp_path / "out" / "training.json").read_text())]
    assert losses[-1] < losses[0]
