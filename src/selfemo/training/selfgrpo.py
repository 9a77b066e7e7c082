"""SELF-GRPO: multi-label alignment and consistency, learnt from a round's samples (SELF-EMO abstract; method.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import Trainer, TrainingArguments
from trl import GRPOConfig

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue, gold_counts
from selfemo.data.labels import Spaces
from selfemo.data.records import Sample
from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.method.rewards import Floats, group_weight, label_balance
from selfemo.policy import adapters
from selfemo.policy.compute import compute
from selfemo.policy.trees import check
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.processes import world
from selfemo.progress import heartbeat, meter
from selfemo.store.checkpoints import Checkpoints
from selfemo.training.checkpoints import RepeatsKeeper
from selfemo.training.common import Log, Recorder, arguments, check_processes, run, save, share
from selfemo.training.examples import rollout_prompt
from selfemo.training.repeats import Repeats
from selfemo.training.replay import Replay
from selfemo.training.reward_functions import GroupRewards, weights_of
from selfemo.training.round_trainers import ExactTrainer, SelfGrpoTrainer
from selfemo.training.understanding import Understanding


def weights(samples: Sequence[Sample], gold: Sequence[Dialogue], config: Config) -> Floats:
    """``w_g``: what each sample counts, by the confidence of its target and by the target's first label.

    The confidence is that of the time when the sample was made: a policy agrees with itself the more it learns, be that
    right or wrong.

    Args:
        samples: Of both tasks.
        gold: Labelled dialogues; may be none.
        config: Section ``grpo``.
    """
    confidence, is_gold = np.array([s.confidence for s in samples]), np.array([s.gold for s in samples])
    group_weights = group_weight(confidence, is_gold, config.grpo.confidence_low, config.grpo.confidence_high)
    return np.asarray(group_weights * balance(samples, gold, config.grpo.balance))


def balance(samples: Sequence[Sample], gold: Sequence[Dialogue], power: float) -> Floats:
    """What each sample's group counts, by its target's first label; each task and corpus for itself."""
    found = np.ones(len(samples))
    counts = gold_counts(gold)
    kinds = [(s.task, s.corpus) for s in samples]
    for kind in set(kinds):
        mine = [i for i, k in enumerate(kinds) if k == kind]
        found[mine] = label_balance([samples[i].target[0] for i in mine], counts.get(kind[1], {}), power)
    return found


def self_grpo(
    base: str,
    policy: str,
    samples: Sequence[Sample],
    gold: Sequence[Dialogue],
    spaces: Spaces,
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
        spaces: Label spaces of both.
        config: Sections ``policy``, ``warmup``, ``rewards``, ``selfplay`` and ``grpo``.
        workdir: For checkpoints: the same directory again resumes.
        out: Directory for the result.
        log: Is given the metrics of each step as they come.
        kept: Where checkpoints are kept in the store, if they are.

    Returns:
        Optimizer steps taken.
    """
    check.architecture(base)
    tokenizer = load_tokenizer(base)
    prompter = Prompter(tokenizer, config.policy.history_turns).check()
    grpo = config.grpo
    share(grpo.prompts_per_step, "grpo.prompts_per_step")
    weight = weights(samples, gold, config)
    exact = np.array([s.task == "understanding" and grpo.understanding == "exact" for s in samples])
    sampled = [s for s, e in zip(samples, exact, strict=True) if not e]
    made = plan(int(exact.sum()), len(sampled), config)
    steps = grpo.epochs * made.steps * (grpo.iterations if sampled else 1)
    learnt = [s for s, e in zip(samples, exact, strict=True) if e]
    room = prompter.room(spaces.values())
    limits = {"understanding": room, "expression": config.selfplay.max_reply_tokens}
    trainer_arguments: dict[str, Any] = {
        "understanding": Understanding(learnt, spaces, made.exact * weight[exact], steps, prompter, config),
        "replay": Replay(gold, spaces, prompter, config),
        "config": config,
    }
    common = {
        **arguments(config, workdir),
        "learning_rate": grpo.learning_rate,
        "lr_scheduler_type": "cosine",  # each round starts from a policy that has converged, and converges again
        "warmup_steps": steps // 10,
        "save_steps": -(-grpo.save_steps // grpo.iterations) * grpo.iterations,  # rollouts are not in a checkpoint
    }
    # Before the arguments: from then on ZeRO-3 shares out all weights that are loaded; only its engine gathers them.
    listener = _listener(base, policy, prompter, config) if any(s.task == "expression" for s in sampled) else None
    given = (
        _grpo_arguments(common, made.groups, max(limits[s.task] for s in sampled), config)
        if sampled
        else TrainingArguments(**common, per_device_train_batch_size=1, num_train_epochs=1)
    )
    lora, over = None, policy
    if grpo.lora_rank and adapters.is_adapter(base):
        over = adapters.base_uri(base)  # an adapter is trained on: adapters are not stacked
    elif grpo.lora_rank:
        from peft import LoraConfig

        lora = LoraConfig(
            r=grpo.lora_rank, lora_alpha=2 * grpo.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    check_processes(given, config)
    with meter("SELF-GRPO", steps) as progress:
        # After the arguments: ZeRO-3 shares the weights out while they are loaded.
        trainer_arguments |= {"args": given, "processing_class": tokenizer, "callbacks": [Recorder(progress, log)]}
        trainer_arguments["model"] = load_model(base, trainable_adapter=grpo.lora_rank > 0)
        trainer: Trainer
        if sampled:
            trainer_arguments |= {"weight": weight[~exact], "share": made.sampled, "steps": made.steps}
            trainer_arguments["limits"] = limits
            trainer = _grpo_trainer(sampled, spaces, prompter, listener, lora, trainer_arguments)
        else:
            if lora is not None:
                from peft import get_peft_model

                trainer_arguments["model"] = get_peft_model(trainer_arguments["model"], lora)
            trainer = ExactTrainer(train_dataset=list(range(steps * world())), **trainer_arguments)
        run(trainer, workdir, kept)
    save(trainer, tokenizer, out, over if grpo.lora_rank and not grpo.lora_merge else None)
    return int(trainer.state.global_step)


@dataclass(frozen=True)
class StepPlan:
    """How the samples of a round make optimizer steps; samples of both kinds count alike, however many there are.

    Attributes:
        steps: Of an epoch.
        groups: That a rank samples in each, one at least. If an epoch has room for more than there are samples for,
            they are sampled again, and each counts so much less: many ranks and few samples cost rollouts.
        exact: What the mean over a step's exact samples counts.
        sampled: What the mean over its groups counts.
    """

    steps: int
    groups: int
    exact: float
    sampled: float


def plan(exact: int, sampled: int, config: Config) -> StepPlan:
    """The plan of a round.

    Args:
        exact: Samples that are learnt by the exact gradient.
        sampled: Those that groups of completions are sampled for; one of both at least.
        config: Section ``grpo``.
    """
    whole = exact + sampled
    an_epoch = max(1, round(whole / config.grpo.prompts_per_step))
    return StepPlan(an_epoch, -(-sampled // (an_epoch * world())), exact / whole, sampled / whole)


def _grpo_arguments(common: dict[str, Any], groups: int, longest: int, config: Config) -> GRPOConfig:
    grpo = config.grpo
    return GRPOConfig(
        **common,
        num_generations=grpo.group,
        num_iterations=grpo.iterations,
        per_device_train_batch_size=grpo.group * groups,  # whole groups: they never straddle ranks
        max_completion_length=longest,
        temperature=config.selfplay.temperature,
        top_p=config.selfplay.top_p,
        num_train_epochs=grpo.epochs,
        beta=grpo.beta,
        epsilon=grpo.epsilon,
        loss_type=grpo.loss,
        reward_weights=weights_of(config),
        use_vllm=grpo.rollouts != "transformers",
        vllm_mode=grpo.rollouts.removeprefix("vllm-") if grpo.rollouts != "transformers" else "colocate",
        vllm_server_base_url=grpo.vllm_server,
        vllm_tensor_parallel_size=config.policy.vllm.tensor_parallel,
    )


def _listener(base: str, policy: str, prompter: Prompter, config: Config) -> Player:
    """The frozen policy of the round's start."""
    with heartbeat("loading the listener"):
        frozen = load_model(base, bf16=compute(config.policy).bfloat16).requires_grad_(False)
    return Player(TransformersEngine(frozen, prompter.tokenizer), prompter, policy)


def _grpo_trainer(
    samples: Sequence[Sample],
    spaces: Spaces,
    prompter: Prompter,
    listener: Player | None,
    lora: Any,
    trainer_arguments: dict[str, Any],
) -> SelfGrpoTrainer:
    """TRL's trainer for what is sampled."""
    config: Config = trainer_arguments["config"]
    # Two samples can come to the same prompt after windowing: both are learnt, each group for its own target.
    prompts = [rollout_prompt(sample, spaces, prompter) for sample in samples]
    data = Dataset.from_dict({"prompt": [str(i) for i in range(len(samples))], "index": list(range(len(samples)))})
    repeats = Repeats(gather_object)
    trainer = SelfGrpoTrainer(
        samples=samples,
        prompts=prompts,
        reward_funcs=GroupRewards(samples, spaces, config, listener, repeats).functions,
        train_dataset=data,
        peft_config=lora,
        **trainer_arguments,
    )
    trainer.add_callback(RepeatsKeeper(repeats))
    if listener is not None:
        assert isinstance(listener.engine, TransformersEngine)
        listener.engine.model.to(trainer.accelerator.device)
    return trainer
