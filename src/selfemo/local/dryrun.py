"""The whole loop with everything small, to see whether a configuration runs here at all (docs/gpu.md)."""

from __future__ import annotations

from selfemo.config import Config, validate
from selfemo.config.overrides import put
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.registry.promotion import decisions

SMALL = {
    # Random weights must learn the form of an answer, or no rollout is kept and nothing is trained.
    "warmup.epochs": 8,
    "warmup.learning_rate": 3e-3,
    "warmup.expression_turns": 1,
    "selfplay.turns": 1,
    "selfplay.max_reply_tokens": 8,
    "flywheel.tau_reward": 0.0,
    "flywheel.tau_low": 0.0,
    "flywheel.max_words": 200,
    "evaluation.replies": 2,
    "gate.min_gain": -1.0,
    "evaluation.bootstrap": 100,
    "loop.rounds": 1,
    # A model of random weights says nothing worth keeping.
    "guard.min_label_entropy": 0.0,
    "guard.min_eligible": 0.0,
    "guard.min_distinct_2": 0.0,
    "guard.max_most_frequent": 1.0,
}
CAPPED = {
    "warmup.dialogues": 6,
    "warmup.selection": 0,
    "selfplay.corpus_dialogues": 3,
    "selfplay.episodes": 2,
    "flywheel.samples": 8,
    "grpo.epochs": 1,
    "evaluation.dialogues": 2,
}


def run_name(config: Config) -> str:
    """Name of a configuration's dry run."""
    return f"dry-{config.run}"[:63]


def reduced(config: Config, base: str) -> Config:
    """The configuration with little to do; engine, launch, precision and all that shapes a step stay.

    Args:
        config: As it is meant to run.
        base: The miniature.

    Raises:
        UserError: If the configuration does not go with what a dry run sets.
    """
    data = config.model_dump(mode="json")
    for name, value in SMALL.items():
        put(data, name, value)
    for name, most in CAPPED.items():
        section, key = name.split(".")
        given = data[section][key]
        put(data, name, most if given is None else min(given, most))
    put(data, "warmup.dialogues_per_step", max(2, config.processes))  # as many as can be dealt out
    put(data, "policy.base", base)
    data["run"] = run_name(config)
    put(data, "mlflow.model", f"{config.mlflow.model}-dry-run")
    return validate(data, lambda _: "selfemo dry-run")


def prepare(config: Config) -> tuple[Config, int]:
    """Make the miniature of ``policy.base``; the dry run's configuration, and the miniature's parameters.

    Raises:
        UserError: If the base's architecture or chat template cannot be used.
    """
    from selfemo.method.prompts import Prompter
    from selfemo.policy.miniature import shrink
    from selfemo.policy.trees import check
    from selfemo.policy.weights import load_tokenizer

    context = Context(config)
    place = context.workdir / "runs" / run_name(config) / "base"
    place.mkdir(parents=True, exist_ok=True)
    base = context.policies.find(config.policy.base).directory
    check.architecture(base)
    Prompter(load_tokenizer(base), config.policy.history_turns).check()
    parameters = shrink(base, place)
    return reduced(config, str(place)), parameters


def outcome(config: Config) -> str:
    """What a dry run that succeeded has shown.

    Raises:
        UserError: If nothing of what was generated could be trained on, so that SELF-GRPO did not run.
    """
    context = Context(config)
    trained = context.store.manifest(str(decisions(context)[-1].inputs["challenger"]))
    assert trained is not None  # the run has succeeded
    if not trained.result.get("steps"):
        raise UserError(
            "the miniature answered nothing that could be trained on, so SELF-GRPO did not run",
            where="selfemo dry-run",
            fix="random weights can fail to learn the form of an answer: try --set seed=8",
        )
    return f"it works: warm-up, self-play, filter, {trained.result['steps']} steps of SELF-GRPO, evaluation, decision"
