"""A step that is killed in its middle, in a process of its own: ``python3 -m tests.integration.killed ARGUMENTS``."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, NoReturn

import pytest

from selfemo import logs
from selfemo.config import Config
from selfemo.store import s3
from selfemo.training import checkpoints, common
from tests.integration.test_resume import Run


def die(*_: object, **__: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def in_the_second_step(after: Any) -> Any:
    def wrapped(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        after(self, args, state, control, **rest)
        if state.global_step == 2:
            die()

    return wrapped


def once_kept(saved: Any, step: int) -> Any:
    """When a step's checkpoint is in the store."""

    def wrapped(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        saved(self, args, state, control, **rest)
        self.upload.join()
        if state.global_step == step:
            die()

    return wrapped


def main() -> None:
    """The configuration, what the steps before have made, the step, and where and in which optimizer step it dies."""
    config, made, name, point, step = json.loads(sys.argv[1])
    logs.configure()
    patch = pytest.MonkeyPatch()  # for as long as the process lives
    if point == "publishing":
        patch.setattr(s3.S3Backend, "create", die)  # every file is uploaded, the manifest is not
    elif point == "computing":
        patch.setattr(common.Recorder, "on_step_end", in_the_second_step(common.Recorder.on_step_end))
    else:
        patch.setattr(checkpoints.Keeper, "on_save", once_kept(checkpoints.Keeper.on_save, step))
    Run(Config.from_json(config), made).step(name)


if __name__ == "__main__":
    main()
