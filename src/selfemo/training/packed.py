"""An optimizer step over packed trees: the rows of a step in as few passes as the token budget allows."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import DistributedType

from selfemo.policy.trees.attention import enable
from selfemo.policy.trees.tree import TokenIds, cut, split

if TYPE_CHECKING:
    from accelerate import Accelerator


def agreed_packs(sequences: Sequence[TokenIds], budget: int, accelerator: Accelerator) -> list[list[int]]:
    """Cut a rank's rows into packs, as many on every rank: collectives over weights and metrics must meet.

    A rank that has fewer rows than another has packs gets empty ones.
    """
    packs = split(sequences, budget)
    if accelerator.num_processes == 1:
        return packs
    most = int(accelerator.gather(torch.tensor([len(packs)], device=accelerator.device)).max())
    return packs if len(packs) == most else cut(sequences, most)


class PackedStep(ABC):
    """Mixin for a Trainer whose batch is all of a rank's rows of one optimizer step.

    Attributes:
        pack_tokens: Most tokens of one pass.
    """

    pack_tokens: int
    accelerator: Accelerator
    args: Any
    _prepare_inputs: Any
    compute_loss: Any
    compute_loss_context_manager: Any

    def enable_trees(self, *models: Any) -> None:
        """Let models that were given to the trainer be called on trees."""
        for model in models:
            if model is not None:
                enable(self.accelerator.unwrap_model(model))

    @abstractmethod
    def rows(self, inputs: Any) -> list[list[int]]:
        """The token sequences of a batch, one a row."""

    @abstractmethod
    def take(self, inputs: Any, rows: list[int]) -> tuple[Any, float]:
        """Some rows of a batch, maybe none, and the share of the step's loss that their own loss stands for."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward over the step's packs; gradients are exchanged once, at the last."""
        started = time.perf_counter()
        model.train()
        inputs = self._prepare_inputs(inputs)
        packs = agreed_packs(self.rows(inputs), self.pack_tokens, self.accelerator)
        deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED
        extra = {"scale_wrt_gas": False} if deepspeed else {}  # the shares do that
        total = torch.zeros((), device=self.args.device)
        passes = [partial(self._pass, model, inputs, rows) for rows in packs] + self.further_losses(model)
        for index, loss_of in enumerate(passes):
            last = index + 1 == len(passes)
            # DeepSpeed takes its optimizer step at the last backward pass; others exchange gradients there.
            self.accelerator.gradient_state._set_sync_gradients(last)
            with self.accelerator.no_sync(model) if not (last or deepspeed) else torch.enable_grad():
                with self.compute_loss_context_manager():
                    loss = loss_of()
                self.accelerator.backward(loss, **extra)
            total += loss.detach()
        self.after_packs(time.perf_counter() - started)
        return total

    def _pass(self, model: Any, inputs: Any, rows: list[int]) -> torch.Tensor:
        taken, share = self.take(inputs, rows)
        loss: torch.Tensor = share * self.compute_loss(model, taken)
        return loss

    def further_losses(self, model: Any) -> list[Callable[[], torch.Tensor]]:
        """Further losses of the step, a pass each, as many on every rank; none, unless it is overridden."""
        return []

    def after_packs(self, seconds: float) -> None:  # noqa: B027
        """Called after each step, for what a trainer counts; nothing, unless it is overridden."""
