"""Warm-up and SELF-GRPO, here, in several processes, or on a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfemo import plots
from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.errors import UserError
from selfemo.measure import weights, weights_of
from selfemo.outbox import Outbox
from selfemo.records import Sample, read_rows
from selfemo.steps.prepare import labelled
from selfemo.training import launch


def warmup(config: Config, prepared: str) -> Published:
    """The base model to ``theta_0``: supervised on the warm-up dialogues, or as it is without dialogues or epochs."""
    context = Context(config)

    def work(out: Path, scratch: Path) -> dict[str, Any]:
        data = context.store.fetch(prepared)
        base = weights(context, config.policy.base)
        gold = labelled(data)
        if not gold or not config.warmup.epochs:
            from selfemo.policy.weights import load_model, load_tokenizer

            if launch.rank() == 0:
                load_model(base).save_pretrained(out)
                load_tokenizer(base).save_pretrained(out)
            return {"dialogues": 0, "steps": 0}
        from selfemo.training.warmup import warm_up

        with Outbox(context.registry, 0) as outbox:
            steps = warm_up(base, gold, config, _checkpoints(config, scratch), out, _training_log(outbox))
            if launch.rank() == 0:
                _plot_training(outbox, out)
        return {"dialogues": len(gold), "steps": steps, "base": config.policy.base}

    inputs = {"prepared": prepared, "base": context.registry.resolve(config.policy.base)}
    _launch(context, "warmup", 0, inputs, config.policy.base, ["--prepared", prepared])
    return context.step("warmup", 0, inputs, work)


def train(config: Config, policy: str, samples: str, prepared: str, round: int) -> Published:
    """SELF-GRPO on the round's samples, and on the labelled dialogues again: the policy to a challenger.

    With nothing kept, or with the collapse guard's alarm, nothing is learnt: the result stands for the policy itself.
    """
    context = Context(config)
    policy = weights_of(context, policy)

    def work(out: Path, scratch: Path) -> dict[str, Any]:
        filtered = context.store.manifest(samples)
        stopped = filtered.result.get("stopped", "") if filtered else ""
        rows = list(read_rows(context.store.fetch(samples) / "samples.jsonl.gz", Sample))
        if stopped or not rows:
            if launch.rank() == 0:
                (out / "training.json").write_text("[]")
            return {"policy": policy, "steps": 0, "samples": len(rows), "stopped": stopped}
        from selfemo.training.selfgrpo import train as self_grpo
        from selfemo.training.selftraining import train as self_training

        checkpoints = _checkpoints(config, scratch)
        gold = labelled(context.store.fetch(prepared)) if config.grpo.replay or config.grpo.balance else []
        base = weights(context, policy)
        with Outbox(context.registry, round) as outbox:
            log_to = _training_log(outbox)
            if config.grpo.objective == "cross-entropy":
                steps = self_training(base, rows, gold, config, checkpoints, out, log_to)
            else:
                steps = self_grpo(base, policy, rows, gold, config, checkpoints, out, log_to)
            if launch.rank() == 0:
                _plot_training(outbox, out)
        history = json.loads((out / "training.json").read_text()) if launch.rank() == 0 else []
        return {"steps": steps, "samples": len(rows), "base": config.policy.base, **_means(history)}

    inputs = {"policy": policy, "samples": samples, "prepared": prepared}
    arguments = ["--policy", policy, "--samples", samples, "--prepared", prepared, "--round", str(round)]
    _launch(context, "train", round, inputs, policy, arguments)
    return context.step("train", round, inputs, work)


def _launch(
    context: Context, name: str, round: int, inputs: Mapping[str, Any], policy: str, arguments: Sequence[str]
) -> None:
    """Do a training step in several processes, if so configured: each gives ``selfemo train``, rank 0 publishes."""
    config = context.config
    uri = context.uri(name, round, inputs)
    apart = config.cluster.trainer == "trainjob" and not launch.launched()
    if not (apart or launch.wanted(config)) or context.store.manifest(uri) is not None:
        return
    if apart:
        from selfemo.cluster.train import train_on_cluster

        train_on_cluster(config, name, round, uri, arguments)
        if context.store.manifest(uri) is None:
            fix = "see the job's log; do its pods read and write the same store?"
            raise UserError("training ended and published nothing", where=uri, fix=fix)
        return
    logs = context.workdir / "runs" / config.run / f"{name}-{round}"
    logs.mkdir(parents=True, exist_ok=True)
    settings = logs / "config.json"
    settings.write_text(config.to_json())
    weights(context, policy)  # brought to this machine once, not by every process at the same time
    launch.start(config, ["train", "--config", str(settings), *arguments], logs)


def _checkpoints(config: Config, scratch: Path) -> Path:
    """Where checkpoints go: those of another number of processes or strategy cannot be resumed."""
    return scratch / f"{config.launch.strategy}-{launch.world()}"


def _training_log(outbox: Outbox) -> Callable[[int, Mapping[str, float]], None]:
    """Sends metrics of a training step to the round's run, from rank 0."""
    if launch.rank():
        return lambda step, values: None

    def log_to(step: int, values: Mapping[str, float]) -> None:
        named = {f"train/{k}": v for k, v in values.items() if k not in ("step", "epoch")}
        outbox.metrics(step, named)

    return log_to


def _means(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a training step was like: means over its optimizer steps."""
    found = {
        name: [row[name] for row in history if name in row] for name in ("reward", "group_confidence", "zero_variance")
    }
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def _plot_training(outbox: Outbox, out: Path) -> None:
    """The training curves, beside the weights and in the round's run."""
    plots.training(json.loads((out / "training.json").read_text()), out / "training.png")
    outbox.artifacts([out / "training.png"], "plots")
