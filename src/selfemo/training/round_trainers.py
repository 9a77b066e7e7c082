"""The trainers of a round: sampled groups on TRL's GRPOTrainer, with exact understanding beside them, or that alone."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import Trainer
from trl.models.utils import unwrap_model_for_generation

from selfemo.config import Config
from selfemo.data.records import Sample
from selfemo.data.seeds import seed_of
from selfemo.method.prompts import TokenIds
from selfemo.method.rewards import Floats, advantages, combine, constant_groups
from selfemo.policy.engine import Sampling
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.training.common import pack_tokens
from selfemo.training.examples import Example
from selfemo.training.order import StepOrder
from selfemo.training.packed import PackedStep
from selfemo.training.packed_grpo import PackedGrpoTrainer
from selfemo.training.replay import Replay
from selfemo.training.reward_functions import PARTS, weights_of
from selfemo.training.understanding import Understanding


class RoundStep(PackedStep):
    """What a step of a round learns besides sampled groups: understanding samples, and gold dialogues again."""

    understanding: Understanding
    replay: Replay
    state: Any

    def further_losses(self, model: Any) -> list[Callable[[], torch.Tensor]]:
        """See :meth:`PackedStep.further_losses`."""
        step = self.state.global_step
        exact = self.understanding.losses(model, step, self.pack_tokens, self.accelerator, self.note)
        return exact + [partial(self._replayed, model, example) for example in self.replay.of_step(step)]

    def _replayed(self, model: Any, example: Example) -> torch.Tensor:
        loss = self.replay.loss(model, example)
        self.note("replay_loss", loss.item())
        return loss

    @abstractmethod
    def note(self, name: str, value: float) -> None:
        """Take a metric of the step; what is logged is its mean."""


class ExactTrainer(RoundStep, Trainer):  # type: ignore[misc]  # transformers and trl have no types
    """Understanding alone: nothing is sampled, and a step's batch is empty.

    Args:
        understanding: Samples that are learnt by the exact gradient.
        replay: Gold dialogues learnt together with them.
        config: Of the run.
        **kwargs: Of Trainer; its dataset is a row a step and rank.
    """

    def __init__(self, *, understanding: Understanding, replay: Replay, config: Config, **kwargs: Any) -> None:
        self.understanding, self.replay, self.pack_tokens = understanding, replay, pack_tokens(config)
        self._noted: dict[str, list[float]] = defaultdict(list)
        super().__init__(data_collator=lambda rows: {"rows": rows}, **kwargs)
        self.enable_trees(self.model)

    def rows(self, inputs: Any) -> list[list[int]]:
        """See :meth:`PackedStep.rows`: there are none."""
        return []

    def take(self, inputs: Any, rows: list[int]) -> tuple[Any, float]:
        """See :meth:`PackedStep.take`; never called."""
        raise AssertionError("a step without rows has no pass over them")

    def note(self, name: str, value: float) -> None:
        """See :meth:`RoundStep.note`."""
        self._noted[name].append(value)

    def log(self, logs: dict[str, float], *given: Any, **named: Any) -> None:
        """As stock, with the means of what was noted since."""
        means = {name: float(np.mean(values)) for name, values in self._noted.items()}
        self._noted.clear()
        super().log({**logs, **means}, *given, **named)


class SelfGrpoTrainer(RoundStep, PackedGrpoTrainer):
    """GRPO with the project's own prompts, rollouts from the tree sampler, and SELF-GRPO's advantages.

    The advantages are confidence-weighted, with a floor under the deviation.

    Args:
        samples: What groups of completions are sampled for, in the order of ``index``.
        prompts: Token ids of each sample's prompt.
        weight: What each sample's group counts.
        share: What the mean over a step's groups counts.
        steps: Of an epoch.
        limits: Most tokens of a completion, by task.
        config: Of the run.
        understanding: Samples that are learnt by the exact gradient in the same steps.
        replay: Gold dialogues learnt together with them.
        **kwargs: Of GRPOTrainer.
    """

    def __init__(
        self,
        *,
        samples: Sequence[Sample],
        prompts: Sequence[TokenIds],
        weight: Floats,
        share: float,
        steps: int,
        limits: Mapping[str, int],
        config: Config,
        understanding: Understanding,
        replay: Replay,
        **kwargs: Any,
    ):
        self.samples, self.run_config, self.steps = samples, config, steps
        self.understanding, self.replay = understanding, replay
        self.prompts, self.weight, self.share, self.limits = prompts, weight, share, limits
        super().__init__(pack_tokens=pack_tokens(config), rollout_func=self.rollouts, **kwargs)

    def _get_train_sampler(self, dataset: Any = None) -> StepOrder:
        return StepOrder(
            [sample.dialogue for sample in self.samples],
            self.args.generation_batch_size // self.num_generations,
            self.steps,
            self.num_generations,
            self.num_iterations,
            self.args.seed,
            lambda: int((self.state.epoch or 0) + 1e-6),
        )

    def rollouts(self, prompts: Sequence[str], _: Any = None) -> dict[str, Any]:
        """TRL's ``rollout_func``: token ids of prompts and completions, so nothing is turned into text and back.

        Args:
            prompts: Of this rank's rows: the data set names samples by their index, a group side by side.

        Returns:
            ``prompt_ids`` and ``completion_ids``, a list a row, and ``logprobs`` of the latter where vLLM samples.
        """
        size = self.num_generations
        chosen = [int(index) for index in prompts[::size]]
        prompt_ids = [list(self.prompts[index]) for index in chosen for _ in range(size)]
        logprobs = None
        if self.use_vllm:
            _, completion_ids, found, _ = self.vllm_generation.generate(
                prompts=prompt_ids, images=None, num_generations=size
            )
            logprobs = [[of_token[0] for of_token in of_row] for of_row in found]  # the sampled token comes first
        else:
            completion_ids = self._sampled(chosen)
        return {"prompt_ids": prompt_ids, "completion_ids": completion_ids, "logprobs": logprobs}

    def _sampled(self, chosen: Sequence[int]) -> list[list[int]]:
        """Completions by the tree sampler, which samples each group together.

        Args:
            chosen: Indices of samples, one a group.
        """
        found: dict[int, list[list[int]]] = {}
        play = self.run_config.selfplay
        with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model:
            engine = TransformersEngine(model, self.processing_class, autocast=self.args.bf16)
            for task, most in self.limits.items():
                mine = [at for at, index in enumerate(chosen) if self.samples[index].task == task]
                sampling = Sampling(self.num_generations, most, play.temperature, play.top_p)
                seeds = [
                    seed_of(self.run_config.seed, "rollout", self.state.global_step, self.samples[chosen[at]].id)
                    for at in mine
                ]
                asked = [self.prompts[chosen[at]] for at in mine]
                for at, completions in zip(mine, engine.sample(asked, seeds, sampling), strict=True):
                    found[at] = [list(c.ids) for c in completions]
        return [ids for at in range(len(chosen)) for ids in found[at]]

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        """As stock, and this rank's parts are kept for the advantages."""
        every = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        first = self.accelerator.process_index * len(prompts)
        self._parts = every[first : first + len(prompts)].double().cpu().numpy()
        return every

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """As stock, with the advantages replaced; groups are whole on a rank, so no gathering is needed."""
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        grpo = self.run_config.grpo
        parts_NGP = self._parts.reshape(-1, grpo.group, len(PARTS))
        rewards_NG = combine(parts_NGP, weights_of(self.run_config))
        samples = [self.samples[row["index"]] for row in inputs[:: grpo.group]]
        group_confidence: Floats = parts_NGP[..., list(PARTS).index("consistency")].mean(axis=1)
        weight = np.array([self.weight[row["index"]] for row in inputs[:: grpo.group]])
        scaled = advantages(rewards_NG, self.share * weight, grpo.sigma_min)
        old = output["advantages"]
        output["advantages"] = torch.as_tensor(scaled.ravel(), dtype=old.dtype, device=old.device)
        understands = np.array([s.task == "understanding" for s in samples])
        self._note_groups(group_confidence, weight, constant_groups(rewards_NG), rewards_NG.mean(axis=1), understands)
        return output

    def note(self, name: str, value: float) -> None:
        """See :meth:`RoundStep.note`."""
        self._metrics["train"][name].append(value)

    def _note_groups(self, *columns: np.ndarray) -> None:
        """Log means over the groups of all ranks: confidence, weight, constant, reward, and it by task."""
        mine = torch.tensor(np.stack(columns, axis=1), dtype=torch.float32, device=self.accelerator.device)
        group_confidence, weight, constant, reward, understands = self.accelerator.gather(mine).T
        log = self._metrics["train" if self.model.training else "eval"]
        log["group_confidence"].append(group_confidence.mean().item())
        log["group_weight"].append(weight.mean().item())
        log["zero_variance"].append(constant.mean().item())
        for task, chosen in (("understanding", understands == 1), ("expression", understands == 0)):
            if chosen.any():  # the two tasks keep separate reward statistics
                log[f"reward/{task}"].append(reward[chosen].mean().item())
