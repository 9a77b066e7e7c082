"""Processes of tests that start at once: forks of one that has loaded the heavy libraries, as a local run's steps are.

What imports take, six seconds a process and ten with DeepSpeed, would be a fifth of all tests' time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines import local
from selfemo.local import forkserver

ROOT = Path(__file__).parents[1]
CODE = f"{ROOT / 'tests' / 'support'}:{ROOT / 'src'}:{ROOT}"
"""Where such processes find the code under test, wherever else it is installed, and what tests put into them."""
HEAVY = (*local.HEAVY, "selfemo.training.selfgrpo")
"""What steps import, and training."""
DEEPSPEED_ON_CPU = {"SELFEMO_TEST_DEEPSPEED_ON_CPU": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": CODE}
"""Variables of processes that use it where there is no GPU."""


@contextmanager
def python(modules: Sequence[str], **variables: str) -> Iterator[str]:
    """A command for ``-m MODULE ...`` that forks off a server which is ready; the real Python where none can be.

    Args:
        modules: What the server has imported.
        variables: Of its environment; those of a process are what they are when it is started.
    """
    if not forkserver.possible():
        yield sys.executable
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PYTHONPATH": CODE, "SELFEMO_TEST_FORKS": "", **variables}.items():
            patch.setenv(name, value)
        serving = forkserver.python3(modules)
        directory = serving.__enter__()
    try:
        while not (directory / "socket").exists():
            time.sleep(0.05)
        command = directory / "python"
        # torchrun starts ranks with -u as well.
        command.write_text(f'#!/bin/sh\n[ "$1" != -u ] || shift\nexec {directory / "python3"} "$@"\n')
        command.chmod(0o755)
        yield str(command)
    finally:
        serving.__exit__(None, None, None)


def of_a_run(command: str) -> dict[str, str]:
    """Variables with which the steps of `selfemo run` are forks of such a server too, not of one of the run's own.

    Args:
        command: Of :func:`python`.
    """
    path = {"PYTHONPATH": CODE}
    return path if command == sys.executable else path | {"SELFEMO_TEST_STEPS": str(Path(command).parent)}


def run(command: str, module: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a module to its end."""
    words, env = [command, "-m", module, *arguments], {**os.environ, "PYTHONPATH": CODE, **variables}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)
