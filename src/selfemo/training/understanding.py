"""The exact policy gradient of understanding: an expectation over all allowed answers, and no sample (method.md).

An understanding prompt has few allowed answers, so the gradient of the expected reward needs no rollouts:
``d/dtheta sum_P pi(P|h) r(P)`` over all of them (all-action policy gradient: Allen et al. 2017; expected policy
gradients: Ciosek and Whiteson 2018). There is no sampling noise, and no group without variance. A baseline would change
nothing: ``sum_P d pi(P|h)`` is 0.

The entropy of the policy counts as well (maximum-entropy policy gradient, as in Haarnoja et al. 2018): what is best is
``pi ~ exp(r / tau)``, about as much in doubt as its target is, where the expected reward alone would have it sure of
the likeliest answer, however little likelier that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from selfemo.config import Config
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.data.records import Sample
from selfemo.data.seeds import seed_of
from selfemo.method.parsing import Answer
from selfemo.method.prompts import Prompter, TokenIds
from selfemo.method.rewards import Floats
from selfemo.policy.trees.packing import log_probs
from selfemo.processes import rank, world
from selfemo.training.examples import prompt_of
from selfemo.training.packed import agreed_packs
from selfemo.training.reward_functions import PARTS, understood, weights_of

if TYPE_CHECKING:
    from accelerate import Accelerator


def rewards_of(sample: Sample, space: LabelSpace, config: Config) -> Floats:
    """What each allowed answer to a sample's prompt earns ``(A,)``.

    ``r(P) = w_align sum_Q q(Q) sIoU(P, Q) + w_cons sum_Q pi_o(Q) sIoU(P, Q) + w_fmt``, with the consensus ``q`` and the
    posterior ``pi_o`` of the other role: the parts of :data:`selfemo.training.reward_functions.PARTS`, for a group
    that is all of them.

    Args:
        sample: Of the understanding task.
        space: Its labels.
        config: Section ``rewards``.
    """
    texts = [", ".join(answer) for answer in space.answers]
    group = understood(sample, texts, [Answer(answer, parsed=True) for answer in space.answers], space, config)
    parts_AP = np.stack([part(group) for part in PARTS.values()], axis=-1)
    return np.asarray(parts_AP @ np.array(weights_of(config)))


def objective(logs_A: torch.Tensor, rewards_A: torch.Tensor, tau: float) -> torch.Tensor:
    """What training maximises, in nats: ``sum_P pi(P) r(P) / tau + H(pi)``; the expected reward alone if ``tau`` is 0.

    Args:
        logs_A: ``log pi(P)`` of the allowed answers.
        rewards_A: ``r(P)``.
        tau: What a nat of entropy counts, in units of reward.
    """
    chances_A = logs_A.exp()
    expected = (chances_A * rewards_A).sum()
    return expected / tau - (chances_A * logs_A).sum() if tau else expected


class Understanding:
    """Deals the understanding samples of a round out to optimizer steps and ranks.

    Args:
        samples: Of the understanding task; may be none.
        spaces: Their labels.
        weight: ``(N,)`` what each counts.
        steps: Optimizer steps that they are dealt out to.
        prompter: Builds the prompts.
        config: Sections ``rewards`` and ``grpo``.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        spaces: Spaces,
        weight: Floats,
        steps: int,
        prompter: Prompter,
        config: Config,
    ) -> None:
        self.samples, self.weight, self.seed, self.tau = samples, weight, config.seed, config.grpo.entropy
        self.prompts = [prompt_of(s, spaces, prompter) for s in samples]
        self.answers = [[prompter.answer(a) for a in spaces[s.corpus].answers] for s in samples]
        self.rewards = [rewards_of(s, spaces[s.corpus], config) for s in samples]
        self.places, self.shares = config.grpo.epochs * len(samples), steps * world()
        self._orders: dict[int, list[int]] = {}

    def of_step(self, step: int) -> list[int]:
        """This rank's samples of an optimizer step: a function of seed and step alone, so a resumed run goes on in it.

        Turns of one dialogue stand side by side, so that their history is computed once. Each pass through the samples
        is in an order of its own, and has each once: shares differ by one where they cannot be equal.
        """
        share = step * world() + rank()
        found = []
        for place in range(share * self.places // self.shares, (share + 1) * self.places // self.shares):
            epoch, index = divmod(place, len(self.samples))
            if epoch not in self._orders:
                self._orders[epoch] = self._order(epoch)
            found.append(self._orders[epoch][index])
        return found

    def _order(self, epoch: int) -> list[int]:
        """The samples as a pass goes through them."""
        dialogues = [s.dialogue for s in self.samples]
        return sorted(range(len(dialogues)), key=lambda i: (seed_of(self.seed, "order", epoch, dialogues[i]), i))

    def losses(
        self, model: Any, step: int, pack_tokens: int, accelerator: Accelerator, note: Callable[[str, float], None]
    ) -> list[Callable[[], torch.Tensor]]:
        """The losses of a step, one a pass, as many on every rank.

        Args:
            model: With tree attention enabled, wrapped for training or not.
            step: Number of the step.
            pack_tokens: Most tokens of one pass.
            accelerator: Of the trainer.
            note: Is given the step's metrics by name.
        """
        if not self.samples:
            return []
        chosen = self.of_step(step)
        branches = [[*self.prompts[i], *(token for answer in self.answers[i] for token in answer)] for i in chosen]
        packs = agreed_packs(branches, pack_tokens, accelerator)
        return [partial(self._loss, model, [chosen[i] for i in pack], note) for pack in packs]

    def _loss(self, model: Any, chosen: Sequence[int], note: Callable[[str, float], None]) -> torch.Tensor:
        """Minus the sum of the samples' weighted objectives, divided by the mean number of samples of a rank's step."""
        rows = chosen or [0]  # a pass that other ranks need company in
        prompts = [self.prompts[i] for i in rows for _ in self.answers[i]]
        answers: list[TokenIds] = [answer for i in rows for answer in self.answers[i]]
        scores = log_probs(model, prompts, answers).logprobs.sum(1)
        total, apart = scores.sum() * 0.0, self.places / self.shares  # the mean size of a share, for all of them
        sizes = [len(self.answers[i]) for i in rows]
        figures = []
        for i, of_sample in zip(chosen, torch.split(scores, sizes), strict=False):
            logs = of_sample.log_softmax(0)
            rewards = torch.as_tensor(self.rewards[i]).to(of_sample)
            total = total - float(self.weight[i]) * objective(logs, rewards, self.tau)
            chances = logs.exp()
            figures.append(
                torch.stack([(chances * rewards).sum(), of_sample.logsumexp(0).exp(), -(chances * logs).sum()])
            )
        seen = torch.stack(figures).detach().tolist() if figures else []  # one look at the device for all of them
        for reward, mass, entropy in seen:
            note("reward/understanding", reward)
            note("mass/understanding", mass)  # of all answers, those that are allowed
            note("entropy/understanding", entropy)
        return total / apart
