"""GRPO whose policy, old and reference log-probabilities are computed on trees; its loss is TRL's own."""

from __future__ import annotations

from typing import Any

import torch
from trl import GRPOTrainer

from selfemo.policy.trees.packing import log_probs_of_packs
from selfemo.training.packed import PackedStep, agreed_packs


class PackedGrpoTrainer(PackedStep, GRPOTrainer):  # type: ignore[misc]  # transformers and trl have no types
    """GRPOTrainer that computes a shared token once: same loss, same gradients.

    Args:
        pack_tokens: Most tokens of one pass.
        **kwargs: Of GRPOTrainer. A rank's whole step is one batch: ``gradient_accumulation_steps`` is 1, packs take
            its place.
    """

    def __init__(self, *, pack_tokens: int, **kwargs: Any) -> None:
        self.pack_tokens = pack_tokens
        super().__init__(**kwargs)
        self.enable_trees(self.model, self.ref_model)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """By packed trees; padding stays 0, where the loss is masked.

        The loss asks for one pack at a time, with gradients; old and reference policy are asked for all rows,
        without, and go through them in packs here.
        """
        cut = input_ids.shape[1] - logits_to_keep
        prompts, answers = (
            [i[s.bool()].tolist() for i, s in zip(input_ids[:, part], attention_mask[:, part], strict=True)]
            for part in (slice(None, cut), slice(cut, None))
        )
        packs = [list(range(len(prompts)))]
        if not torch.is_grad_enabled():
            sequences = [p + a for p, a in zip(prompts, answers, strict=True)]
            packs = agreed_packs(sequences, self.pack_tokens, self.accelerator)
        with self.accelerator.autocast():
            scores = log_probs_of_packs(model, prompts, answers, packs, self.temperature, entropies=compute_entropy)
        room = (0, logits_to_keep - scores.logprobs.shape[1])
        logprobs, entropies = (
            None if t is None else torch.nn.functional.pad(t, room) for t in (scores.logprobs, scores.entropies)
        )
        assert logprobs is not None
        return logprobs, entropies, None

    def rows(self, inputs: Any) -> list[list[int]]:
        """See :meth:`PackedStep.rows`."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        seen = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1).bool()
        return [i[s].tolist() for i, s in zip(ids, seen, strict=True)]

    def take(self, inputs: Any, rows: list[int]) -> tuple[Any, float]:
        """See :meth:`PackedStep.take`."""
        taken = {k: v[rows] if isinstance(v, torch.Tensor) and v.dim() else v for k, v in inputs.items()}
        if self.loss_type == "dapo":
            return taken, 1.0  # its loss is a sum over tokens of what the whole batch counts
        of = "completion_mask"
        if self.loss_type == "bnpo":  # a mean over tokens
            return taken, float(taken[of].sum() / inputs[of].sum())
        return taken, len(rows) / len(inputs[of])  # a mean over completions

    def after_packs(self, seconds: float) -> None:
        """What GRPOTrainer counts in its own training step."""
        self._step += 1
        self._metrics["train"]["step_time"].append(seconds)
