"""A real MLflow and a store of which a process's writes are counted, and cut off where a test says."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from selfemo import config as configuration
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.method.gate import Decision
from selfemo.registry.promotion import after_decision, promote_version, roll_back
from selfemo.registry.versions import CHAMPION
from selfemo.store.backends import LocalBackend

MODELS = count(1)
CHANGES = ("set_", "create_", "delete_", "update_", "log_")


class Killed(BaseException):
    """What is left of a process that was killed: not even its error handling runs."""


@dataclass
class Life:
    """How many writes a process has left, and how it ends.

    Attributes:
        left: Writes to go before the end; None lives on.
        dies: Whether the process ends there. If not, that one answer gets lost, and the process goes on.
    """

    left: int | None = None
    dies: bool = True
    ended: bool = field(default=False, init=False)

    def write(self, make: Callable[[], Any]) -> Any:
        if self.left is None:
            return make()
        if self.left == 0 and self.dies:
            self.ended = True
            raise Killed
        self.left -= 1
        done = make()
        if self.left < 0 and not self.ended:
            self.ended = True
            raise MlflowException("the answer got lost")
        return done


class Mortal:
    """An MLflow client whose writes a life counts."""

    def __init__(self, client: Any, life: Life) -> None:
        self.client, self.life = client, life

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        if not name.startswith(CHANGES):
            return real
        return lambda *a, **b: self.life.write(lambda: real(*a, **b))


class World:
    """A registered model of its own for each try, all in one database."""

    def __init__(self, place: Path, database: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.life, self.model = Life(), ""
        self.place, self.store, self.database = place, place / "s", Path(database.removeprefix("sqlite:///"))
        self.store.mkdir()
        self.overrides = [
            f"workdir={place / 'w'}",
            f"store.root={self.store.as_uri()}",
            f"mlflow.tracking_uri={database}",
        ]
        monkeypatch.setattr(mlflow, "MlflowClient", lambda tracking_uri: Mortal(client, self.life))
        create, swap = LocalBackend.create, LocalBackend.swap
        monkeypatch.setattr(LocalBackend, "create", lambda *a: self._store(lambda: create(*a)))
        monkeypatch.setattr(LocalBackend, "swap", lambda *a: self._store(lambda: swap(*a)))
        # Whoever comes next comes when the lock of the dead has run out.
        monkeypatch.setattr(LocalBackend, "age", lambda *a: 1e6, raising=False)

    def _keep(self) -> None:
        """Remember what the database and the store hold."""
        _copy(self.database, self.place / "kept.db")
        shutil.copytree(self.store, self.place / "kept")

    def _put_back(self) -> None:
        """Have the database and the store hold it again."""
        _copy(self.place / "kept.db", self.database)
        shutil.rmtree(self.store)
        shutil.copytree(self.place / "kept", self.store)

    def _store(self, make: Callable[[], bool]) -> bool:
        """Of the store's answers none gets lost: its client asks again by itself."""
        return bool(self.life.write(make)) if self.life.dies else make()

    def fresh(self, versions: int, *more: str) -> list[str]:
        """A model with so many versions, not one of them champion; more settings, if a test wants some."""
        self.model = f"m{next(MODELS)}"
        self.context = Context(configuration.load(None, [*self.overrides, f"mlflow.model={self.model}", *more]))
        registry = self.context.registry
        return [
            registry.versions.register(f"s3://b/{n}", registry.round(1), {"selfemo.scores": ""})
            for n in range(versions)
        ]

    def champion(self) -> str:
        return self.alias(CHAMPION)

    def alias(self, name: str) -> str:
        found = self.context.registry.versions.alias(name)
        return "" if found is None else str(found.version)

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.context.registry.versions.get(version).tags)

    def by_the_loop(self, version: str) -> str:
        context = Context(self.context.config)
        found = context.registry.versions.get(version)
        current = context.registry.versions.alias(CHAMPION)
        return after_decision(context, found, Decision(True, "better"), current.source if current else "", "")

    def by_hand(self, version: str, **more: bool) -> str:
        return promote_version(Context(self.context.config), version, force=True, reason="better", **more)

    def back(self, reason: str = "it shouts") -> str:
        return roll_back(Context(self.context.config), reason)

    def cut_off_everywhere(self, prepare: Callable[[], Callable[[], object]], dies: bool) -> Iterator[int]:
        """Cut a command off at its first write, then in the same world at its second, and so on; after each, it is
        given again to the end. Yields where it was cut off, when it is done."""
        command = prepare()
        self._keep()
        for at in range(60):
            self._put_back()
            self.life.left, self.life.dies, self.life.ended = at, dies, False
            try:
                command()
            except (Killed, UserError, MlflowException):
                assert self.life.ended
            whole = not self.life.ended
            self.life.left = None
            if whole:
                assert at > 3, "this cut nothing off"
                return
            command()
            yield at
        raise AssertionError("the command has no end")


def _copy(source: Path, target: Path) -> None:
    """Copy a database that others have open."""
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
        read.backup(written)
