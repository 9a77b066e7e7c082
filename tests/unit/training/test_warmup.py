"""The warm-up learns the labelled dialogues."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selfemo import config as configuration
from selfemo.data.dialogue import Dialogue
from selfemo.method.prompts import Prompter
from selfemo.policy.weights import load_tokenizer
from selfemo.training.examples import collate, gold_examples
from tests.spaces import SPACES


def test_warm_up_learns_to_answer_and_weighs_labels_above_replies(
    warmed: Path, tiny: Path, dialogues: list[Dialogue]
) -> None:
    history = json.loads((warmed / "training.json").read_text())
    assert np.mean([r["loss"] for r in history[-3:]]) < 0.7 * history[0]["loss"]
    assert (warmed / "model.safetensors").is_file()
    assert not list(warmed.glob("*.bin"))
    settings = configuration.load(None, [])
    learnt = gold_examples(dialogues[:2], SPACES, Prompter(load_tokenizer(str(tiny))), settings, replies=2)
    assert learnt[0].weights == (1.0,) * len(dialogues[0].turns) + (0.2, 0.2)
    batch = collate(learnt)
    shares = [w * len(a) for w, a in zip(batch["weights"], batch["answers"], strict=True)]
    assert sum(shares) == pytest.approx(1)
    assert sum(shares[: len(learnt[0].weights)]) == pytest.approx(0.5)  # long and short dialogues count alike
