"""What the two training steps share: where they run, checkpoints, metrics as they come, curves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfemo import processes
from selfemo.config import Config
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.policies import Policy
from selfemo.report import plots


def launch(
    context: Context, name: str, round: int, inputs: Mapping[str, Any], policy: Policy, arguments: Sequence[str]
) -> None:
    """Do a training step in several processes, if so configured: each gives ``selfemo train``, rank 0 publishes."""
    config = context.config
    uri = context.uri(name, round, inputs)
    apart = config.cluster.trainer == "trainjob" and not processes.launched()
    if (
        not (apart or processes.wanted(config.launch.processes, config.launch.strategy))
        or context.store.manifest(uri) is not None
    ):
        return
    if apart:
        from selfemo.cluster.train import train_on_cluster

        train_on_cluster(config, name, round, uri, arguments)
        if context.store.manifest(uri) is None:
            fix = "see the job's log; do its pods read and write the same store, and is their image of the same code?"
            raise UserError("training ended and published nothing", where=uri, fix=fix)
        return
    logs = context.workdir / "runs" / config.run / f"{name}-{round}"
    logs.mkdir(parents=True, exist_ok=True)
    settings = logs / "config.json"
    settings.write_text(config.to_json())
    _ = policy.directory  # brought to this machine once, not by every process at the same time
    processes.start(config.launch.processes, ["train", "--config", str(settings), *arguments], logs)
    if context.store.manifest(uri) is None:
        fix = "was the code edited while it started? Give the same command again"
        raise UserError("training ended and published nothing", where=uri, fix=fix)


def checkpoints(config: Config, scratch: Path) -> Path:
    """Where checkpoints go: those of another number of processes or strategy cannot be resumed."""
    return scratch / f"{config.launch.strategy}-{processes.world()}"


def training_log(context: Context, round: int) -> Callable[[int, Mapping[str, float]], None]:
    """Sends metrics of a training step to the round's run, from rank 0."""
    if processes.rank():
        return lambda step, values: None
    run = context.registry.round(round)

    def log_to(step: int, values: Mapping[str, float]) -> None:
        named = {f"train/{k}": v for k, v in values.items() if k not in ("step", "epoch")}
        context.registry.metrics(run, [(step, named)])

    return log_to


def plot_training(context: Context, round: int, out: Path) -> None:
    """The training curves, beside the weights and in the round's run."""
    plots.training(json.loads((out / "training.json").read_text()), out / "training.png")
    context.registry.artifacts(context.registry.round(round), [out / "training.png"], "plots")
