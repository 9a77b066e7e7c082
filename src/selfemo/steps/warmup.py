"""The supervised start of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfemo import processes
from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.registry.outbox import Outbox
from selfemo.steps.launch import check_compiled_for, checkpoints, launch, plot_training, training_log
from selfemo.steps.prepare import labelled


def warmup(config: Config, prepared: str) -> Published:
    """The base model to ``theta_0``: supervised on the warm-up dialogues, or as it is without dialogues or epochs."""
    check_compiled_for(config)
    context = Context(config)
    found = context.policies.find(config.policy.base)

    def work(out: Path, scratch: Path) -> dict[str, Any]:
        data = context.store.fetch(prepared)
        base = found.directory
        gold = labelled(data)
        if not gold or not config.warmup.epochs:
            from selfemo.policy.weights import load_model, load_tokenizer

            if processes.rank() == 0:
                load_model(base).save_pretrained(out)
                load_tokenizer(base).save_pretrained(out)
            return {"dialogues": 0, "steps": 0}
        from selfemo.training.warmup import warm_up

        with Outbox(context.registry, 0) as outbox:
            steps = warm_up(base, gold, config, checkpoints(config, scratch), out, training_log(outbox))
            if processes.rank() == 0:
                plot_training(outbox, out)
        return {"dialogues": len(gold), "steps": steps, "base": config.policy.base}

    inputs = {"prepared": prepared, "base": found.uri}
    launch(context, "warmup", 0, inputs, found, ["--prepared", prepared])
    return context.step("warmup", 0, inputs, work)
