"""Gold dialogues learnt together with a round's rollouts, so that the policy keeps what it was taught.

A policy gradient on one's own labels has no anchor: a learning rate at which it learns anything is one at which it
drifts. A supervised term on the labelled few holds it, as pretraining gradients do in PPO-ptx (Ouyang et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue
from selfemo.data.labels import Spaces
from selfemo.data.seeds import seed_of
from selfemo.method.prompts import Prompter
from selfemo.processes import rank, world
from selfemo.training.common import share
from selfemo.training.examples import Example, collate, gold_examples, loss


class Replay:
    """Deals examples out to optimizer steps and ranks.

    Args:
        dialogues: With gold labels; may be none.
        spaces: Their labels.
        prompter: Builds the prompts.
        config: Sections ``warmup`` and ``grpo``.
    """

    def __init__(self, dialogues: Sequence[Dialogue], spaces: Spaces, prompter: Prompter, config: Config) -> None:
        # No replies: they are what the round explores, and their many tokens drown the labels that anchor it.
        self.examples = gold_examples(dialogues, spaces, prompter, config, replies=0)
        self.per_step = config.grpo.replay if len(self.examples) else 0
        self.weight, self.seed = config.grpo.replay_weight, config.seed
        share(self.per_step, "grpo.replay")

    def of_step(self, step: int) -> list[Example]:
        """This rank's examples of an optimizer step: a function of seed and step alone, so a resumed run goes on in it.

        Each pass through the examples is in an order of its own.
        """
        found = []
        for place in range(step * self.per_step + rank(), (step + 1) * self.per_step, world()):
            turn, index = divmod(place, len(self.examples))
            order = sorted(range(len(self.examples)), key=lambda i: seed_of(self.seed, "replay", turn, i))
            found.append(self.examples[order[index]])
        return found

    def loss(self, model: Any, example: Example) -> torch.Tensor:
        """What an example adds to its rank's loss; ranks are averaged afterwards."""
        return loss(model, collate([example])) * (self.weight * world() / self.per_step)
