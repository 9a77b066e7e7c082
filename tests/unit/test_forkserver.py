"""Steps of a local run that are forks of a process with their libraries loaded: each is as if it had been started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from selfemo.local import forkserver

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="steps are forked on Linux alone")

SAYS = """
import os, sys
print(sys.argv[1:], os.environ["COLOUR"], os.getcwd(), sys.stdin.read())
print("and to the other", file=sys.stderr)
print("loaded" if "decimal" in before else "not loaded")
sys.exit(int(sys.argv[1]))
"""


def until(happened: Callable[[], bool]) -> None:
    """Wait; who waits for ever is ended by the tests' timeout."""
    while not happened():
        time.sleep(0.02)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of modules that Python finds: one that tells what it is given, one that waits."""
    (tmp_path / "says.py").write_text("import sys; before = set(sys.modules)\n" + SAYS)
    (tmp_path / "waits.py").write_text("import os, time\nopen('here', 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return tmp_path


@pytest.fixture
def python3(modules: Path) -> Iterator[str]:
    with forkserver.python3(["decimal"]) as directory:
        until((directory / "socket").exists)
        yield str(directory / "python3")


def answer(python: str, modules: Path, code: int) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "says", str(code), "two words", "'\"\n"]
    env = {**os.environ, "COLOUR": "blue"}
    return subprocess.run(command, env=env, cwd=modules, input="heard", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 7])
def test_a_fork_is_given_and_gives_what_a_process_of_its_own_would(python3: str, modules: Path, code: int) -> None:
    forked, plain = answer(python3, modules, code), answer(sys.executable, modules, code)
    assert forked.returncode == plain.returncode == code
    assert forked.stderr == plain.stderr == "and to the other\n"
    assert forked.stdout == plain.stdout.replace("not loaded", "loaded")
    assert "not loaded" in plain.stdout


def test_nothing_that_one_step_did_is_there_for_the_next(python3: str, modules: Path) -> None:
    (modules / "leaves.py").write_text(
        "import json, os; print(hasattr(json, 'mark')); json.mark = 1; os.environ['X'] = '1'"
    )
    for _ in range(2):
        done = subprocess.run([python3, "-m", "leaves"], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


def test_a_step_is_killed_with_the_command_that_asked_for_it(python3: str, modules: Path) -> None:
    asked = subprocess.Popen([python3, "-m", "waits"], cwd=modules)
    until(lambda: (modules / "here").exists() and (modules / "here").read_text() != "")
    step = psutil.Process(int((modules / "here").read_text()))
    asked.kill()
    asked.wait()
    step.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_that_ends_a_step_ends_the_command(python3: str, modules: Path, number: signal.Signals) -> None:
    asked = subprocess.Popen([python3, "-m", "waits"], cwd=modules)
    until(lambda: (modules / "here").exists() and (modules / "here").read_text() != "")
    os.kill(int((modules / "here").read_text()), number)
    assert asked.wait() == -number


def test_before_the_server_is_ready_and_after_it_is_gone_the_command_is_python_itself(modules: Path) -> None:
    (modules / "slow.py").write_text("import time; time.sleep(600)")
    with forkserver.python3(["slow"]) as directory:
        done = answer(str(directory / "python3"), modules, 3)
        assert done.returncode == 3
        assert "not loaded" in done.stdout


def test_the_server_ends_with_the_process_that_started_it(modules: Path) -> None:
    script = (
        "import sys, time\nfrom selfemo.local import forkserver\n"
        "with forkserver.python3(['decimal']) as directory:\n"
        "    while not (directory / 'socket').exists(): time.sleep(0.02)\n"
        "    print(directory, flush=True)\n    time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    owner.stdout.readline()
    (server,) = psutil.Process(owner.pid).children()
    owner.kill()
    owner.wait()
    server.wait()


def test_where_there_is_a_gpu_nothing_is_forked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(forkserver, "GPUS", (str(tmp_path / "none"),))
    assert forkserver.possible()
    monkeypatch.setattr(forkserver, "GPUS", (str(tmp_path / "none"), str(tmp_path)))
    assert not forkserver.possible()
