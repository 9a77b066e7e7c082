"""Which prompts make an optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch.utils.data import Sampler

from selfemo.data.seeds import seed_of


class StepOrder(Sampler[int]):
    """Whole steps of prompts; prompts of one dialogue stand side by side, so that its history is computed once.

    The order is a function of the seed and the epoch alone: a resumed run goes on in it.

    Args:
        dialogues: The dialogue of each prompt.
        per_step: Prompts of a step, over all ranks.
        steps: Of an epoch, repeats not counted. If there are too few prompts, they are gone through again;
            if there are too many, some are left out, different ones in each epoch.
        group: How often each prompt stands in its step, side by side.
        repeats: How often a step is gone through before the next.
        seed: Of the run.
        epoch: Says which epoch begins.
    """

    def __init__(
        self,
        dialogues: Sequence[str],
        per_step: int,
        steps: int,
        group: int,
        repeats: int,
        seed: int,
        epoch: Callable[[], int],
    ) -> None:
        self.dialogues, self.per_step, self.steps = dialogues, per_step, steps
        self.group, self.repeats = group, repeats
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return self.steps * self.per_step * self.group * self.repeats

    def __iter__(self) -> Iterator[int]:
        epoch, places = self.epoch(), range(len(self.dialogues))
        order = sorted(places, key=lambda i: (seed_of(self.seed, "order", epoch, self.dialogues[i]), i))
        for step in range(self.steps):
            chosen = [order[(step * self.per_step + i) % len(order)] for i in range(self.per_step)]
            for _ in range(self.repeats):
                for index in chosen:
                    yield from [index] * self.group
