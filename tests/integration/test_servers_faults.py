"""The embedded servers, killed and cut off as machines do it: the same command again ends right."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfemo import services
from selfemo.config import Config
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.services import embedded, record
from selfemo.services.network import answers_mlflow, answers_s3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("servers") / "w"
    made.mkdir(mode=0o755)
    yield made
    services.stop(made)


@pytest.fixture
def context(place: Path) -> Context:
    found = Context(Config(workdir=str(place)))
    _ = found.services
    return found


def kill(process: record.Process) -> None:
    """With its whole group, as the kernel does when memory is short; and gone when this returns."""
    os.killpg(process.pid, signal.SIGKILL)
    gone = psutil.Process(process.pid) if psutil.pid_exists(process.pid) else None
    if gone is not None:
        gone.wait(30)


def written(context: Context, name: str, text: str) -> str:
    folder = context.workdir / name
    folder.mkdir()
    (folder / "a").write_text(text)
    context.store.publish(folder, context.store.uri(name), step="s")
    return context.store.uri(name)


def log_a_file(context: Context, name: str) -> None:
    file = context.workdir / name
    file.write_text(name)
    context.registry.artifacts(context.registry.parent, [file])


def test_what_lies_there_is_for_its_owner_alone(context: Context) -> None:
    for folder in (context.workdir, context.workdir / "services"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    new = Context(Config(workdir=str(context.workdir / "new"), store={"root": context.workdir.as_uri()}))
    _ = new.store
    assert stat.S_IMODE(new.workdir.stat().st_mode) == 0o700


def test_an_s3_that_died_alone_comes_back_where_mlflow_looks_for_it(context: Context) -> None:
    before = context.services
    log_a_file(context, "before.txt")
    uri = written(context, "kept", "kept")
    kill(before.processes["s3"])
    again = Context(context.config)
    assert again.services.processes["s3"].url == before.processes["s3"].url
    assert again.services.processes["mlflow"] == before.processes["mlflow"]
    assert (again.store.fetch(uri) / "a").read_text() == "kept"
    log_a_file(again, "after.txt")


def test_where_its_port_is_taken_mlflow_is_started_anew_with_it(context: Context) -> None:
    before = context.services
    kill(before.processes["s3"])
    with socket.create_server(("127.0.0.1", int(before.processes["s3"].url.rpartition(":")[2]))):
        again = Context(context.config)
        after = again.services
    assert after.processes["s3"].url != before.processes["s3"].url
    assert after.processes["mlflow"].pid != before.processes["mlflow"].pid
    log_a_file(again, "elsewhere.txt")


def test_a_server_whose_port_is_taken_while_it_starts_gets_another(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another program's connection: what was free when it was looked at need not be a second later.

    What this process knew of MLflow's old address it forgets: the file goes to a run that it logged to before.
    """
    log_a_file(context, "there.txt")
    kill(context.services.processes["mlflow"])
    launch = embedded._launch
    taken: list[socket.socket] = []

    def too_late(*given: Any) -> None:
        if given[2] == "mlflow" and not taken:
            port = int(given[3].rpartition(":")[2])
            taken.append(socket.create_server(("127.0.0.1", port)))
        launch(*given)

    monkeypatch.setattr(embedded, "_launch", too_late)
    again = Context(context.config)
    after = again.services.processes["mlflow"]
    with taken[0]:
        assert after.url.rpartition(":")[2] != str(taken[0].getsockname()[1])
        log_a_file(again, "elsewhere-too.txt")


def test_a_dead_mlflow_whose_children_hold_its_port_comes_back_there_and_outlives_the_step_that_started_it(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(of_the_run := tmp_path / "tmp"))
    of_the_run.mkdir()
    before = context.services.processes["mlflow"]
    os.kill(before.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(before.pid)] if psutil.pid_exists(before.pid) else [], 30)
    after = Context(context.config).services.processes["mlflow"]
    assert (after.url, answers_mlflow(after.url)) == (before.url, True)
    assert after.pid != before.pid
    shutil.rmtree(of_the_run)
    log_a_file(Context(context.config), "after-the-run.txt")  # MLflow takes it through a temporary file


def test_an_s3_that_died_with_its_record_takes_mlflow_along_to_where_it_comes_back(context: Context) -> None:
    uri = written(context, "long-kept", "kept")
    before = context.services
    kill(before.processes["s3"])
    record.state_file(context.workdir).unlink()
    again = Context(context.config)
    assert again.services.access_key == before.access_key
    assert (again.store.fetch(uri) / "a").read_text() == "kept"
    log_a_file(again, "still.txt")


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"processes": 3}', '{"processes": {"s3": {}}, "access_key": 1}', None]
)
def test_a_state_file_that_is_damaged_or_was_never_written_costs_nothing(context: Context, damage: str | None) -> None:
    """As by a starter that was killed between starting a server and writing it down, and by a disk that was full."""
    before = context.services
    file = record.state_file(context.workdir)
    if damage is None:
        file.unlink()
    else:
        file.write_text(damage)
    assert services.status(context.workdir).processes == before.processes
    again = Context(context.config).services
    assert again.processes == before.processes
    assert (again.access_key, again.secret_key) == (before.access_key, before.secret_key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


KILLED = """
import os, signal, sys
from selfemo.config import Config
from selfemo.context import Context
from selfemo.services import record
wrote, at = 0, int(sys.argv[2])
write = record.write
def dying(*given):
    global wrote
    if wrote == at: os.kill(os.getpid(), signal.SIGKILL)
    wrote += 1
    write(*given)
record.write = dying
Context(Config(workdir=sys.argv[1])).start_again()
"""


@pytest.mark.parametrize("at", [1, 3])  # right after the start of S3; of MLflow
def test_a_starter_that_was_killed_leaves_servers_that_are_found_and_stopped(context: Context, at: int) -> None:
    assert services.stop(context.workdir)
    done = subprocess.run([sys.executable, "-c", KILLED, str(context.workdir), str(at)], check=False)
    assert done.returncode == -signal.SIGKILL
    found = services.status(context.workdir)
    assert len(found.processes) == (at + 1) // 2
    again = Context(context.config).services
    assert {name: again.processes[name] for name in found.processes} == found.processes
    assert answers_s3(again.processes["s3"].url, "selfemo")
    assert services.stop(context.workdir) == ["s3", "mlflow"]
    assert not list(record._marked(context.workdir))


def test_servers_that_die_in_a_run_are_started_again_and_stopped_ones_are_not(context: Context) -> None:
    before = context.services
    with services.kept(context.workdir, context.start_again):
        kill(before.processes["s3"])
        for _ in range(600):
            if answers_s3(before.processes["s3"].url, "selfemo"):
                break
            time.sleep(0.1)
    assert "s3" in services.recorded(context.workdir).processes
    services.stop(context.workdir)
    assert record.died(context.workdir) == []


def test_a_server_that_ends_while_it_starts_is_told_from_one_that_does_not_answer(tmp_path: Path) -> None:
    gone = record.Process(url="http://127.0.0.1:9", pid=2**22 + 1, began=0.0)
    with pytest.raises(UserError, match=r"ended while it started:\n\(its log is empty\)"):
        embedded._wait("mlflow", gone, tmp_path / "mlflow.log")
