"""Checkpoints while a model trains: found again at the start, and copied to the store as they are made.

What is loaded from them: transformers reads weights as safetensors, and the state of optimizer, schedule and random
numbers by ``torch.load(weights_only=True)``, which makes no objects but tensors and plain values. DeepSpeed unpickles
its own files in full. That is acceptable for these files alone: this run made them and wrote their hashes next to them,
and none is loaded whose hash differs. The hash finds damage, not malice: whoever may write to the run's part of the
store can exchange both, as they can exchange the policy itself, and so is trusted like the pods that train.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import get_last_checkpoint

from selfemo import processes
from selfemo.errors import CorruptArtifact
from selfemo.store.checkpoints import Checkpoints
from selfemo.training.repeats import Repeats

log = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds that the end of training waits for an upload: the last checkpoint spares the training should publishing
fail, and accelerators are idle meanwhile."""


def restore(directory: Path, kept: Checkpoints | None) -> str | None:
    """The checkpoint to go on from, fetched from the store where this machine has none. All ranks call it together.

    Args:
        directory: Of the checkpoints on this machine.
        kept: Where they are kept in the store, if they are.

    Returns:
        Its directory; None to begin at the beginning.
    """
    if _first_on_disk(kept):
        for cut_off in directory.glob(".upload-*"):
            shutil.rmtree(cut_off)
        if kept is not None and kept.disks > 1:
            shutil.rmtree(directory, ignore_errors=True)  # no disk has the whole of a checkpoint: the store has
        _drop_incomplete(directory)
    gather_object([None])  # nobody looks before that is done
    last = _last(directory)
    if last is None and kept is not None:
        _fetch(directory, kept)
        last = _last(directory)
    if last is not None and processes.rank() == 0:
        log.info("training goes on from %s", Path(last).name)
    return last


def _fetch(directory: Path, kept: Checkpoints) -> None:
    """Fetch the store's newest checkpoint, on every disk the same; what is left of others there is removed."""
    (name,) = broadcast_object_list([kept.newest() if processes.rank() == 0 else None])
    whole = True
    if name is not None and _first_on_disk(kept):
        log.info("%s is fetched from the store", name)
        directory.mkdir(parents=True, exist_ok=True)
        try:
            kept.fetch(name, directory / name)
        except CorruptArtifact as error:
            log.warning("%s of the store cannot be used (%s); training begins anew", name, error.message)
            whole = False
    whole = all(gather_object([whole]))
    if not whole and _first_on_disk(kept):
        shutil.rmtree(directory / name, ignore_errors=True)
    if processes.rank() == 0:
        # Parts of a later one, from before, must not complete one that is made now.
        kept.remove_others(name if whole else None)
    gather_object([None])


def _first_on_disk(kept: Checkpoints | None) -> bool:
    """Whether this process is the one that sees to its disk."""
    return processes.local_rank() == 0 if kept is not None and kept.disks > 1 else processes.rank() == 0


def _last(directory: Path) -> str | None:
    found: str | None = get_last_checkpoint(str(directory)) if directory.is_dir() else None
    return found


def _drop_incomplete(directory: Path) -> None:
    """Remove checkpoints that a run was killed in: the one before them counts. Their state is written last."""
    last = _last(directory)
    while last is not None and not (Path(last) / "trainer_state.json").is_file():
        shutil.rmtree(last)
        last = _last(directory)


class Keeper(TrainerCallback):  # type: ignore[misc]  # transformers and trl have no types
    """Copies each checkpoint to the store in the background. A copy that fails is a warning: training goes on.

    Args:
        directory: Of the checkpoints on this machine.
        kept: Where they go.
    """

    def __init__(self, directory: Path, kept: Checkpoints) -> None:
        self.directory, self.kept = directory, kept
        self.upload: threading.Thread | None = None

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All ranks come here when they have written their files; a checkpoint is copied by all disks or by none."""
        name = f"checkpoint-{state.global_step}"
        busy = any(gather_object([self.upload is not None and self.upload.is_alive()]))
        if busy and processes.rank() == 0:
            log.info("%s is not copied to the store: the one before it is still on its way", name)
        if not _first_on_disk(self.kept):
            return
        if not busy:
            self._start(name)
        if processes.rank():  # Trainer removes old ones on the first rank's disk alone
            for old in self.directory.glob("checkpoint-*"):
                if old.name != name:
                    shutil.rmtree(old, ignore_errors=True)

    def _start(self, name: str) -> None:
        # Links to the same files: Trainer may remove the directory before all of it is uploaded.
        files = self.directory / f".upload-{name}"
        try:
            shutil.copytree(self.directory / name, files, copy_function=os.link)
        except OSError as error:
            log.warning("%s is not copied to the store: %s", name, error)
            shutil.rmtree(files, ignore_errors=True)
            return
        self.upload = threading.Thread(target=self._copy, args=(files, name), daemon=True, name="checkpoint")
        self.upload.start()

    def _copy(self, files: Path, name: str) -> None:
        started = time.monotonic()
        try:
            self.kept.save(files, name)
            log.info("%s is in the store, in %.0f s", name, time.monotonic() - started)
        except Exception as error:  # whatever a store may say
            log.warning("%s could not be copied to the store (%s: %s)", name, type(error).__name__, error)
        finally:
            shutil.rmtree(files, ignore_errors=True)

    def finish(self) -> None:
        """Wait for the last copy, but not for ever."""
        if self.upload is not None:
            self.upload.join(PATIENCE)
            if self.upload.is_alive():
                log.warning("the last checkpoint is not in the store after %.0f s more; left behind", PATIENCE)


class RepeatsKeeper(TrainerCallback, ExportableState):  # type: ignore[misc]  # transformers and trl have no types
    """Keeps in each checkpoint what the last groups said, and takes it up again."""

    def __init__(self, repeats: Repeats) -> None:
        self.repeats = repeats

    def state(self) -> dict[str, Any]:
        """See ExportableState; transformers writes it, and does not make a keeper of it."""
        return {"args": {}, "attributes": {"groups": self.repeats.groups}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Trainer has read a checkpoint's state by now, if there is one."""
        kept = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self.repeats.groups = [(sample, said) for sample, said in kept["attributes"]["groups"]]
