"""SELF-GRPO on TRL's GRPOTrainer: multi-label alignment and group consistency (SELF-EMO abstract; method.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import GRPOConfig
from trl.models.utils import unwrap_model_for_generation

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue, gold_counts
from selfemo.data.records import Sample
from selfemo.data.seeds import seed_of
from selfemo.method.prompts import ANSWER_TOKENS, Prompter, TokenIds
from selfemo.method.rewards import Floats, advantages, combine, constant_groups, group_weight, label_balance
from selfemo.method.selfplay import Player
from selfemo.policy import adapters
from selfemo.policy.compute import compute
from selfemo.policy.engine import Sampling
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.processes import world
from selfemo.progress import heartbeat, meter
from selfemo.store.checkpoints import Checkpoints
from selfemo.training.common import Log, Recorder, arguments, check_processes, pack_tokens, run, save, share
from selfemo.training.examples import Example, prompt_of
from selfemo.training.order import StepOrder
from selfemo.training.packed_grpo import PackedGrpoTrainer
from selfemo.training.replay import Replay
from selfemo.training.reward_functions import PARTS, GroupRewards, weights_of


class SelfGrpoTrainer(PackedGrpoTrainer):
    """GRPO with the project's own prompts, rollouts from the tree sampler, and SELF-GRPO's advantages.

    The advantages are confidence-weighted, with a floor under the deviation.

    Args:
        samples: The training set, in the order of ``index``.
        prompts: Token ids of each sample's prompt.
        balance: What each sample's group counts.
        config: Of the run.
        replay: Gold dialogues learnt together with the rollouts.
        **kwargs: Of GRPOTrainer.
    """

    def __init__(
        self,
        *,
        samples: Sequence[Sample],
        prompts: Sequence[TokenIds],
        balance: Floats,
        config: Config,
        replay: Replay,
        **kwargs: Any,
    ):
        self.samples, self.run_config, self.replay = samples, config, replay
        self.prompts, self.balance = prompts, balance
        super().__init__(pack_tokens=pack_tokens(config), rollout_func=self.rollouts, **kwargs)

    def _get_train_sampler(self, dataset: Any = None) -> StepOrder:
        return StepOrder(
            [sample.dialogue for sample in self.samples],
            self.args.generation_batch_size // self.num_generations,
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
            for task, room in (("understanding", 0), ("expression", play.max_reply_tokens)):
                mine = [at for at, index in enumerate(chosen) if self.samples[index].task == task]
                sampling = Sampling(self.num_generations, ANSWER_TOKENS + room, play.temperature, play.top_p)
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
        sure: Floats = parts_NGP[..., list(PARTS).index("consistency")].mean(axis=1)
        gold = np.array([s.gold for s in samples])
        # How sure the target was when it was made: the group's own agreement grows with what it learns, right or wrong.
        trust = np.array([s.confidence for s in samples])
        weight = group_weight(trust, gold, grpo.confidence_low, grpo.confidence_high)
        weight = weight * [self.balance[row["index"]] for row in inputs[:: grpo.group]]
        scaled = advantages(rewards_NG, weight, grpo.sigma_min)
        old = output["advantages"]
        output["advantages"] = torch.as_tensor(scaled.ravel(), dtype=old.dtype, device=old.device)
        understands = np.array([s.task == "understanding" for s in samples])
        self._note_groups(sure, weight, constant_groups(rewards_NG), rewards_NG.mean(axis=1), understands)
        return output

    def further_losses(self, model: Any) -> list[Callable[[], torch.Tensor]]:
        """See :meth:`PackedStep.further_losses`: the step's gold dialogues, a pass each."""
        examples = self.replay.of_step(self.state.global_step)
        return [partial(self._replayed, model, example) for example in examples]

    def _replayed(self, model: Any, example: Example) -> torch.Tensor:
        loss = self.replay.loss(model, example)
        self._metrics["train"]["replay_loss"].append(loss.item())
        return loss

    def _note_groups(self, *columns: np.ndarray) -> None:
        """Log means over the groups of all ranks: confidence, weight, constant, reward, and it by task."""
        mine = torch.tensor(np.stack(columns, axis=1), dtype=torch.float32, device=self.accelerator.device)
        sure, weight, constant, reward, understands = self.accelerator.gather(mine).T
        log = self._metrics["train" if self.model.training else "eval"]
        log["group_confidence"].append(sure.mean().item())
        log["group_weight"].append(weight.mean().item())
        log["zero_variance"].append(constant.mean().item())
        for task, chosen in (("understanding", understands == 1), ("expression", understands == 0)):
            if chosen.any():  # the two tasks keep separate reward statistics
                log[f"reward/{task}"].append(reward[chosen].mean().item())


def balance(samples: Sequence[Sample], gold: Sequence[Dialogue], power: float) -> Floats:
    """What each sample's group counts, by its target's first label; each task and corpus for itself."""
    found = np.ones(len(samples))
    known = gold_counts(gold)
    kinds = [(s.task, s.corpus) for s in samples]
    for kind in set(kinds):
        mine = [i for i, k in enumerate(kinds) if k == kind]
        found[mine] = label_balance([samples[i].target[0] for i in mine], known.get(kind[1], {}), power)
    return found


def self_grpo(
    base: str,
    policy: str,
    samples: Sequence[Sample],
    gold: Sequence[Dialogue],
    config: Config,
    workdir: Path,
    out: Path,
    log: Log = lambda step, values: None,
    kept: Checkpoints | None = None,
) -> int:
    """Train the round's policy on its kept samples and save the challenger.

    Args:
        base: Directory of the round's policy.
        policy: Its URI.
        samples: Non-empty.
        gold: Labelled dialogues, to replay and to balance labels by; may be none.
        config: Sections ``policy``, ``warmup``, ``rewards``, ``selfplay`` and ``grpo``.
        workdir: For checkpoints: the same directory again resumes.
        out: Directory for the result.
        log: Is given the metrics of each step as they come.
        kept: Where checkpoints are kept in the store, if they are.

    Returns:
        Optimizer steps taken.
    """
    tokenizer = load_tokenizer(base)
    prompter = Prompter(tokenizer, config.policy.history_turns)
    # Two samples can come to the same prompt after windowing: both are learnt, each group for its own target.
    prompts = [prompt_of(sample, prompter) for sample in samples]
    data = Dataset.from_dict({"prompt": [str(i) for i in range(len(samples))], "index": list(range(len(samples)))})
    listener = None
    if any(s.task == "expression" for s in samples):
        with heartbeat("loading the listener"):
            frozen = load_model(base, bf16=compute(config.policy).bfloat16).requires_grad_(False)
        listener = Player(TransformersEngine(frozen, tokenizer), prompter, policy)
    rewards = GroupRewards(samples, config, listener)
    grpo = config.grpo
    per_rank = share(grpo.prompts_per_step, "grpo.prompts_per_step")
    per_rank = min(per_rank, -(-len(samples) // world()))
    steps = grpo.epochs * grpo.iterations * max(1, len(samples) // (per_rank * world()))
    training_arguments = GRPOConfig(
        **arguments(config, workdir),
        num_generations=grpo.group,
        num_iterations=grpo.iterations,
        per_device_train_batch_size=grpo.group * per_rank,  # whole groups: they never straddle ranks
        max_completion_length=ANSWER_TOKENS + config.selfplay.max_reply_tokens,
        temperature=config.selfplay.temperature,
        top_p=config.selfplay.top_p,
        num_train_epochs=grpo.epochs,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type="cosine",  # each round starts from a policy that has converged, and converges again
        warmup_steps=steps // 10,
        beta=grpo.beta,
        epsilon=grpo.epsilon,
        loss_type=grpo.loss,
        reward_weights=weights_of(config),
        use_vllm=grpo.rollouts != "transformers",
        vllm_mode=grpo.rollouts.removeprefix("vllm-") if grpo.rollouts != "transformers" else "colocate",
        vllm_server_base_url=grpo.vllm_server,
        vllm_tensor_parallel_size=config.policy.vllm.tensor_parallel,
        save_steps=-(-grpo.save_steps // grpo.iterations) * grpo.iterations,  # rollouts are not in a checkpoint
    )
    lora, over = None, policy
    if grpo.lora_rank and adapters.is_adapter(base):
        over = adapters.base_uri(base)  # an adapter is trained on: adapters are not stacked
    elif grpo.lora_rank:
        from peft import LoraConfig

        lora = LoraConfig(
            r=grpo.lora_rank, lora_alpha=2 * grpo.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    check_processes(training_arguments, config)
    with meter("SELF-GRPO", steps) as progress:
        trainer = SelfGrpoTrainer(
            samples=samples,
            prompts=prompts,
            balance=balance(samples, gold, grpo.balance),
            config=config,
            replay=Replay(gold, prompter, config),
            model=load_model(
                base, trainable_adapter=grpo.lora_rank > 0
            ),  # after the arguments: ZeRO-3 shares the weights out while they are loaded
            reward_funcs=rewards.functions,
            args=training_arguments,
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=[Recorder(progress, log)],
        )
        if listener is not None:
            frozen.to(trainer.accelerator.device)
        run(trainer, workdir, kept)
    save(trainer, tokenizer, out, over if grpo.lora_rank and not grpo.lora_merge else None)
    return int(trainer.state.global_step)
