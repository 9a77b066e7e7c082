"""What the two training steps share: where they run, checkpoints, metrics as they come, curves."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfemo import processes
from selfemo.config import Config
from selfemo.config.cluster import TRAINER
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.policies import Policy
from selfemo.registry.outbox import Outbox
from selfemo.report import plots


def check_compiled_for(config: Config) -> None:
    """Hold the configuration against the pipeline that this step is part of, if it is part of one.

    A pod that is to train has the training image and the accelerators, one that is to wait for a TrainJob has
    neither: a step that did the other's work would fail of something that names neither cause nor remedy, or train
    where the accelerators are not.

    Raises:
        UserError: If the pipeline was compiled for another ``cluster.trainer``.
    """
    compiled, asked = os.environ.get(TRAINER), config.cluster.trainer
    if compiled and compiled != asked:
        raise UserError(
            f"the pipeline was compiled for cluster.trainer: {compiled}, and runs with {asked}",
            where=f"cluster.trainer: {asked}",
            fix=f"compile it again with this configuration (`selfemo submit` does), or set cluster.trainer: {compiled}",
        )


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
    _ = policy.directory  # copied to this machine once, not by every process at the same time
    processes.start(config.launch.processes, ["train", "--config", str(settings), *arguments], logs)
    if context.store.manifest(uri) is None:
        fix = "was the code edited while it started? Give the same command again"
        raise UserError("training ended and published nothing", where=uri, fix=fix)


def checkpoints(config: Config, scratch: Path) -> Path:
    """Where checkpoints go: those of another number of processes or strategy cannot be resumed."""
    return scratch / f"{config.launch.strategy}-{processes.world()}"


def training_log(outbox: Outbox) -> Callable[[int, Mapping[str, float]], None]:
    """Sends metrics of a training step to the round's run, from rank 0."""
    if processes.rank():
        return lambda step, values: None

    def log_to(step: int, values: Mapping[str, float]) -> None:
        named = {f"train/{k}": v for k, v in values.items() if k not in ("step", "epoch")}
        outbox.metrics(step, named)

    return log_to


def plot_training(outbox: Outbox, out: Path) -> None:
    """The training curves, next to the weights and in the round's run."""
    plots.training(json.loads((out / "training.json").read_text()), out / "training.png")
    outbox.artifacts([out / "training.png"], "plots")
