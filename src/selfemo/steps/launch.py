"""What the two training steps share: where they run, checkpoints, metrics as they come."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from selfemo import processes
from selfemo.config import Config
from selfemo.config.cluster import TRAINER
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.policies import Policy
from selfemo.registry.outbox import Outbox
from selfemo.store import checkpoints as stored
from selfemo.store.checkpoints import Checkpoints

log = logging.getLogger(__name__)


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
            fix=f"compile it again with this configuration (`make compile`), or set cluster.trainer: {compiled}",
        )


def check_writable(context: Context) -> None:
    """Make sure that files can be written where training works, before hours are spent.

    A volume that is mounted into a step's pod belongs to root unless somebody has seen to it: Kubeflow Pipelines sets
    no fsGroup.

    Raises:
        UserError: If they cannot.
    """
    try:
        context.workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=context.workdir):
            pass
    except OSError as error:
        uid = os.getuid()
        raise UserError(
            f"uid {uid} cannot write here: {error.strerror}",
            where=str(context.workdir),
            fix=f"give it to that user once (chown {uid} from a pod that runs as root and mounts the volume of"
            " cluster.volume), or take a storage class whose volumes all may write to, or leave cluster.volume empty",
        ) from None


def launch(
    context: Context,
    name: Literal["warmup", "train"],
    round: int,
    inputs: Mapping[str, Any],
    policy: Policy,
    arguments: Sequence[str],
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
    config.check_dealt_out(name)
    check_accelerator(config, apart)
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
    settings.write_text(context.portable.to_json())
    _ = policy.directory  # copied to this machine once, not by every process at the same time
    processes.start(config.launch.processes, ["train", "--config", str(settings), *arguments], logs)
    if context.store.manifest(uri) is None:
        fix = "was the code edited while it started? Give the same command again"
        raise UserError("training ended and published nothing", where=uri, fix=fix)


def check_accelerator(config: Config, apart: bool) -> None:
    """Without GPUs DeepSpeed's processes would start, load a policy each, and then train alone.

    Raises:
        UserError: If there are none, and DS_ACCELERATOR, DeepSpeed's own switch, names nothing else.
    """
    strategy = config.launch.strategy
    if strategy == "ddp" or "DS_ACCELERATOR" in (config.cluster.variables if apart else os.environ):
        return
    if apart and not config.cluster.pods.train.accelerators:
        raise UserError(
            f"{strategy}: the pods that train have no GPU",
            where="cluster.pods.train.accelerators",
            fix="DeepSpeed needs GPUs: give each node some, or use launch.strategy=ddp",
        )
    if not apart and not _gpu():
        raise UserError(
            f"{strategy}: this machine has no GPU",
            where="launch.strategy",
            fix="DeepSpeed needs GPUs; on a CPU use launch.strategy=ddp",
        )


def _gpu() -> bool:
    from torch import cuda  # a step that only waits for a TrainJob has no torch

    return bool(cuda.is_available())


def checkpoints(config: Config, scratch: Path) -> Path:
    """Directory of checkpoints on this machine."""
    return scratch / _kind(config)


def _kind(config: Config) -> str:
    """What checkpoints must have in common with a training that goes on from them: strategy and number of processes."""
    return f"{config.launch.strategy}-{processes.world()}"


def in_store(config: Config) -> bool:
    """Whether training copies its checkpoints to the store.

    A pod's own disk is lost with the pod. A volume is not, and neither is this machine's disk, where a copy would only
    cost room and time; the embedded store lies on the same disk anyway.
    """
    if config.launch.checkpoints != "auto":
        return config.launch.checkpoints == "store"
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ
    return in_pod and not config.cluster.volume and config.store.root is not None


def kept_checkpoints(context: Context, uri: str) -> Checkpoints | None:
    """Where a training step keeps its checkpoints in the store; None if they stay where they are made.

    Args:
        context: Of the run.
        uri: Where the step publishes.
    """
    config = context.config
    if not in_store(config):
        return None
    # Machines that share a volume write to one disk: what is there, one process uploads.
    disk, disks = (0, 1) if config.cluster.volume else processes.node()
    place = f"{stored.place(context.store, uri)}/{_kind(config)}"
    return Checkpoints(context.store, place, disk, disks)


def forget_checkpoints(context: Context, uri: str) -> None:
    """Remove a published step's checkpoints from the store; where that fails, `selfemo gc` does it later.

    Args:
        context: Of the run.
        uri: Where the step has published.
    """
    if processes.rank() or not in_store(context.config):
        return
    try:
        stored.forget(context.store, uri)
    except Exception as error:  # whatever a store may say: the artifact is there, and that is what counts
        log.warning("checkpoints of %s are left in the store (%s: %s)", uri, type(error).__name__, error)


def training_log(outbox: Outbox) -> Callable[[int, Mapping[str, float]], None]:
    """Sends metrics of a training step to the round's run, from rank 0."""
    if processes.rank():
        return lambda step, values: None

    def log_to(step: int, values: Mapping[str, float]) -> None:
        named = {f"train/{k}": v for k, v in values.items() if k not in ("step", "epoch")}
        outbox.metrics(step, named)

    return log_to
