"""A local run from outside: what it says in the end, and that nothing of it outlives it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from selfemo import config as configuration
from selfemo import events, logs
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.local import runner
from selfemo.runs.here import Here
from selfemo.runs.state import RunState, RunStatus, folder_of

FAILED = """\
10:00:00 I prepare of round 0 starts
\x1b[0m    10:00:01 E train of round 1 failed: CUDA is out of memory\x1b[0m
Traceback (most recent call last):
10:00:02 - ERROR - Task \x1b[96m'train'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
    10:00:03 E train of round 1 failed: rank 1 died; the end of its log:
      | 10:00:02 E boom
      | more
      fix: mend it
10:00:04 - ERROR - Task 'exit-handler-1' finished with status FAILURE
    10:00:05 E report failed: MLflow does not answer
"""


def test_the_step_that_failed_last_has_the_last_word_and_not_what_follows_from_it() -> None:
    assert logs.failure(FAILED.splitlines()) == (
        "train of round 1 failed: rank 1 died; the end of its log:\n  fix: mend it"
    )
    assert logs.failure(FAILED.splitlines()[-1:]) == "report failed: MLflow does not answer"
    assert logs.failure(["10:00:00 I train of round 1 starts", "Task exit-handler-1 failed."]) == ""


def test_a_step_that_ended_without_a_word_is_named() -> None:
    line = "10:00:02 - ERROR - Task \x1b[96m'train'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m"
    assert runner._why([line, "Task 'exit-handler-1' finished with status FAILURE"]).startswith("train ended without")
    assert "ended without a word" in runner._why([])


def test_what_the_pipeline_itself_fails_of_is_said_too() -> None:
    said = ["10:00:00 I x\n", "selfemo: /tmp/forms: No space left on device\n", "  fix: see its disks\n"]
    assert runner._why(said) == "/tmp/forms: No space left on device\n  fix: see its disks"


PIPELINE = """
import os, pathlib, subprocess, sys, threading, time
sys.path[:0] = {path!r}
from selfemo import processes
if parent := os.environ.get(processes.CHILD):
    processes.die_with_parent(int(parent), group=True)
place = pathlib.Path(sys.argv[1]).parent
step = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(place / "pids").write_text(f"{{os.getpid()}} {{step.pid}}")
os.rename(place / "pids", place / "ready")
step.wait()
"""
RUN = """
import sys
sys.path[:0] = {path!r}
from selfemo import config
from selfemo.context import Context
from selfemo.local import runner
from selfemo.runs.here import Here
from selfemo.runs.state import RunState, RunStatus, folder_of
runner.checkout = lambda: __import__("pathlib").Path({checkout!r})
runner.run_pipeline(Context(config.load(None, [{workdir!r}, "store.root=file:///nowhere", "mlflow.tracking_uri=sqlite:///x"])))
"""


@pytest.fixture
def going(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process, psutil.Process]]:
    """A run in a process of its own, whose pipeline has started a step that would take ten minutes."""
    checkout, work = tmp_path / "checkout", tmp_path / "w"
    (checkout / "pipelines").mkdir(parents=True)
    (checkout / "pipelines" / "__init__.py").touch()
    (checkout / "pipelines" / "local.py").write_text(PIPELINE.format(path=sys.path))
    code = RUN.format(path=sys.path, checkout=str(checkout), workdir=f"workdir={work}")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # Who runs the tests in the background ignores these, and what they start would too.
    heed = [partial(signal.signal, number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)]
    run = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: [reset() for reset in heed] and None,
    )
    ready, until = work / "runs" / "demo" / "ready", time.monotonic() + 120
    while not ready.exists():
        assert run.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    pipeline, step = (psutil.Process(int(pid)) for pid in ready.read_text().split())
    yield run, pipeline, step
    for process in (pipeline, step):
        if process.is_running():
            process.kill()
    run.kill()
    run.wait()


Going = tuple[subprocess.Popen[bytes], psutil.Process, psutil.Process]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_a_closed_terminal_or_a_killed_run_leaves_no_pipeline_and_no_step(
    going: Going, number: signal.Signals, tmp_path: Path
) -> None:
    run, pipeline, step = going
    run.send_signal(number)
    run.wait(60)
    _, alive = psutil.wait_procs([pipeline, step], timeout=60)
    assert not alive
    word = "killed" if number is signal.SIGKILL else "ended by hand"
    assert Here(tmp_path / "w", "demo").look().state.word == word  # as who watches it is told


def test_a_pipeline_that_was_killed_leaves_no_step_and_ends_the_run(going: Going) -> None:
    run, pipeline, step = going
    pipeline.kill()
    assert run.wait(60) == 0  # it has said how it ended
    _, alive = psutil.wait_procs([step], timeout=60)
    assert not alive


def test_while_a_pipeline_lives_there_is_no_second_one_whatever_became_of_its_run(going: Going, tmp_path: Path) -> None:
    run, pipeline, _ = going
    pipeline.suspend()  # before it can see that its run is gone
    run.kill()
    run.wait()
    context = Context(configuration.load(None, [f"workdir={tmp_path / 'w'}", "store.root=file:///nowhere"]))
    with pytest.raises(UserError, match="already going on"):
        runner.run_pipeline(context)


@pytest.mark.parametrize(
    ("error", "word", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "ended by hand", "its terminal was closed"),
        (KeyboardInterrupt(), "ended by hand", ""),
        (UserError("no disk"), "failed", "no disk"),
    ],
)
def test_how_a_run_ended_is_told_by_what_ended_it(tmp_path: Path, error: BaseException, word: str, said: str) -> None:
    context = Context(configuration.load(None, [f"workdir={tmp_path}"]))
    happened = folder_of(tmp_path, "demo") / events.FILE
    happened.parent.mkdir(parents=True)
    with pytest.raises(type(error)), runner._told(context, happened):
        raise error
    assert Here(tmp_path, "demo").look().state == RunState(RunStatus(word), said)
