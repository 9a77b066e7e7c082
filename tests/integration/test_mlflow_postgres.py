"""MLflow's databases in a real Postgres, prepared by several pods at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from selfemo.services.mlflow_admin import LOCK, _alone
from tests import postgres

pytest.importorskip("psycopg2", reason="Postgres wants the extra `server`")
pytest.importorskip("flask_wtf", reason="MLflow's users want mlflow[auth]")

SECONDS = 300
"""That a pod is waited for: the first one imports MLflow and makes all of its tables."""
MADE, FOUND = "admin: made\nclient: made\n", "admin: as it was\nclient: as it was\n"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.running() as url:
        yield url


class Databases:
    """The tracking database of an MLflow, and that of its users.

    Args:
        server: URL of a Postgres.
        name: Of what is made there.
        place: For files.
    """

    def __init__(self, server: str, name: str, place: Path) -> None:
        self.place, self.backend, users = place, f"{server}/{name}", f"{server}/{name}_users"
        for database in (name, f"{name}_users"):
            with _connected(f"{server}/postgres") as connection:
                connection.execute(text(f'CREATE DATABASE "{database}"'))
        lines = ["admin_username = admin", "admin_password = admin's password", f"database_uri = {users}"]
        (place / "auth.ini").write_text("\n".join(["[mlflow]", "default_permission = NO_PERMISSIONS", *lines]))

    @contextmanager
    def pod(self, name: str) -> Iterator[Pod]:
        """What MLflow's pod runs first, in a process group of its own, as a container is."""
        told = {
            "MLFLOW_BACKEND_STORE_URI": self.backend,
            "MLFLOW_AUTH_CONFIG_PATH": str(self.place / "auth.ini"),
            "MLFLOW_CLIENT_USERNAME": "client",
            "MLFLOW_CLIENT_PASSWORD": "client's password",
            "PGAPPNAME": name,  # by which the server names its sessions
        }
        command = [sys.executable, "-m", "selfemo.services.mlflow_admin", "migrate"]
        out, err = self.place / f"{name}.out", self.place / f"{name}.err"
        with out.open("w") as said, err.open("w") as log:
            process = subprocess.Popen(
                command, env={**os.environ, **told}, stdout=said, stderr=log, start_new_session=True
            )
        pod = Pod(process, out, err)
        try:
            yield pod
        finally:
            pod.kill()

    def asked_to(self, statement: str) -> None:
        with _connected(self.backend) as connection:
            connection.execute(text(statement))

    def asked(self, query: str, **values: Any) -> Any:
        with _connected(self.backend) as connection:
            return connection.execute(text(query), values).scalar()

    def holder(self) -> str | None:
        """Name of the pod that holds the lock."""
        query = (
            "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)"
            " WHERE locktype = 'advisory' AND granted AND objid = :key AND datname = current_database()"
        )
        name: str | None = self.asked(query, key=LOCK)
        return name

    def lock_is_held(self) -> bool:
        return self.holder() is not None

    def at_work(self) -> bool:
        """Whether the lock is held, and the schema is being changed by a transaction that has not ended."""
        query = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND locktype = 'relation' AND granted"
        mine = " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        return self.lock_is_held() and bool(self.asked(query + mine))


class Pod:
    """A process that prepares the databases.

    Args:
        process: It.
        out: What it prints.
        err: Its log.
    """

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process, self.out, self.err = process, out, err

    def waits(self) -> bool:
        return "waiting: another pod" in self.err.read_text()

    def kill(self) -> None:
        """As a container is killed: at once, with all that it has started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)

    def end(self) -> str:
        """What it printed, once it has ended well."""
        self.process.wait(SECONDS)
        assert self.process.returncode == 0, self.err.read_text()
        return self.out.read_text()


@contextmanager
def _connected(uri: str) -> Iterator[sqlalchemy.Connection]:
    engine = sqlalchemy.create_engine(uri, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        yield connection


def until(true: Callable[[], bool], *pods: Pod) -> None:
    """Wait until something is so, while the pods run."""
    begun = time.monotonic()
    while not true():
        for pod in pods:
            assert pod.process.poll() is None, pod.err.read_text()
        assert time.monotonic() - begun < SECONDS
        time.sleep(0.05)


def test_of_pods_at_once_one_prepares_the_databases_and_if_it_is_killed_the_next_and_the_others_find_it_done(
    server: str, tmp_path: Path
) -> None:
    databases = Databases(server, "at_once", tmp_path)
    with databases.pod("one") as one, databases.pod("two") as two:
        with _connected(databases.backend) as other:  # which holds both back until they are at the same point
            other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
            until(lambda: one.waits() and two.waits(), one, two)
            assert databases.asked("SELECT to_regclass('experiments') IS NULL")  # nobody began without the lock
        until(databases.at_work, one, two)
        holder, next_one = (one, two) if databases.holder() == "one" else (two, one)
        holder.kill()
        with databases.pod("three") as three:
            assert sorted([next_one.end(), three.end()]) == sorted([MADE, FOUND])
    assert not databases.lock_is_held()
    assert databases.asked("SELECT count(*) FROM experiments") == 0  # the tables are there, for the server to fill


def test_the_lock_is_held_however_long_the_work_takes(server: str, tmp_path: Path) -> None:
    databases = Databases(server, "long", tmp_path)
    databases.asked_to("ALTER DATABASE long SET idle_in_transaction_session_timeout = '100ms'")
    with _alone(databases.backend):
        time.sleep(0.5)
        assert databases.lock_is_held()
    assert not databases.lock_is_held()
