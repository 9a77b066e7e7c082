"""An alias of a registered model, moved so that a crash between any two calls is made good by whoever comes next.

MLflow changes one thing at a time. So a move is first written down whole (one tag of the registered model), then made
(the alias, which is the truth), then told in the tags of the version, and last marked as done: a write-ahead log with
one entry. Who finds an entry that is not done looks where the alias points. There already: the rest is done over again,
from the entry. Not there: the move never happened.

All of it happens under a lock (`store.lock`). Aliases have no compare-and-swap, so the lock is renewed before
the alias moves and looked at afterwards. A holder that finds it lost then, and that another has moved the alias
since, puts it back the next time it holds the lock. What remains: a holder that stalls for longer than the
lock's time just between its look and the alias, and is killed before it looks again. That is as if somebody moved the
alias by hand.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from selfemo.logs import printable
from selfemo.registry.mlflow_client import MISSING, MlflowRefused
from selfemo.registry.versions import Versions
from selfemo.store.lock import Lease

log = logging.getLogger(__name__)

MOST = 300
"""Characters of a reason that are kept: a record has it three times, once as JSON in JSON, seven characters for one."""


def kept(reason: str) -> str:
    """As much of a reason as is kept."""
    return printable(reason)[:MOST]


def now() -> str:
    """The time, as tags have it: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class MoveKind(StrEnum):
    """What a change of an alias is for."""

    PROMOTION = "promotion"
    """A version becomes champion."""
    ROLLBACK = "rollback"
    """An earlier champion is champion again, or none is."""
    CANARY = "canary"
    """A version becomes canary."""
    END = "end"
    """A version is canary no more."""


@dataclass(frozen=True)
class Move:
    """A change of an alias.

    Attributes:
        number: One more than that of the move before.
        kind: What it is for.
        before: Version that had the alias; empty if there was none.
        after: Version that has it then; empty if none has.
        reason: Why.
        tags: What is recorded of it, in the tags of the version that was promoted, rolled back, tried or ended.
        done: Whether it is over, tags and all.
    """

    number: int
    kind: MoveKind
    before: str
    after: str
    reason: str
    tags: dict[str, str]
    done: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Move:
        """A move from its record; the inverse of ``asdict``, also after JSON.

        Raises:
            KeyError, TypeError, ValueError: If it is none.
        """
        return cls(**{**data, "kind": MoveKind(data["kind"])})

    @property
    def told(self) -> str:
        """The version whose tags record it."""
        return self.before if self.kind in (MoveKind.ROLLBACK, MoveKind.END) else self.after


class Moves:
    """The moves of one alias; every method that writes is called under the lock.

    Args:
        versions: Of the model.
        alias: That is moved.
        record: Tag of the registered model that holds the last move. MLflow keeps 5,000 characters of it.
    """

    def __init__(self, versions: Versions, alias: str, record: str) -> None:
        self.versions, self.client, self.model = versions, versions.client, versions.model
        self.alias, self.record = alias, record
        self._made: Move | None = None  # by this process

    def make(
        self, kind: MoveKind, before: str, after: str, reason: str, tags: dict[str, str], lease: Lease | None = None
    ) -> None:
        """Write a move down, make it, and announce it.

        Args:
            kind: What it is for.
            before: Version that has the alias; empty for none.
            after: Version that is to have it; empty takes it away.
            reason: Why.
            tags: What is recorded of it, in this order.
            lease: Of the lock.
        """
        move = Move(self.next(), kind, before, after, kept(reason), tags)
        self._write(move, lease)
        self._made = move
        self._point(after, lease)
        if lease is not None:
            lease.renew()
        self._finish(move, lease)

    def next(self) -> int:
        """The number of the move to come."""
        last = self.last()
        return 1 if last is None else last.number + 1

    def recover(self, lease: Lease | None = None) -> tuple[Move | None, bool]:
        """Finish the move of a holder that was cut off; the last move that was made, and whether it was finished here.

        A move that this process made too late, over another's, is taken back.

        Args:
            lease: Of the lock.
        """
        last = self.last()
        if last is None:
            return None, False
        now, mine = self.at(), self._made
        if mine and last.number > mine.number and now == mine.after != last.after:
            now = last.after if last.done else last.before
            log.warning(
                "the lock was lost while version %s became %s: %s is again",
                mine.after or "none",
                self.alias,
                now or "none",
            )
            self._point(now, lease)
        if last.done:
            return last, False
        if now != last.after:
            return None, False
        log.info("the %s of version %s was cut off, and is finished now", last.kind, last.told)
        return self._finish(last, lease), True

    def at(self) -> str:
        """The version that has the alias now; empty if none has."""
        found = self.versions.alias(self.alias)
        return "" if found is None else str(found.version)

    def last(self) -> Move | None:
        """The last move, or None if there was none, or its record is damaged: then the alias speaks for itself."""
        try:
            found = self.client.get_registered_model(self.model).tags.get(self.record)
        except MlflowRefused as error:
            if error.code in MISSING:  # nothing was ever registered
                return None
            raise
        try:
            return Move.from_dict(json.loads(found)) if found else None
        except (KeyError, ValueError, TypeError):
            return None

    def cut_off(self) -> bool:
        """Whether the last move is not done: who made it was killed, or is at it just now."""
        last = self.last()
        return last is not None and not last.done

    def _point(self, version: str, lease: Lease | None) -> None:
        if version:
            self.versions.set_alias(self.alias, version, lease)
        else:
            self.versions.remove_alias(self.alias, lease)

    def _finish(self, move: Move, lease: Lease | None) -> Move:
        """Announce a move that was made, and mark it as done; again does no harm."""
        for key, value in move.tags.items():
            try:
                self.client.set_model_version_tag(self.model, move.told, key, value)
            except MlflowRefused as error:
                if error.code not in MISSING:
                    raise
                break  # it was deleted: nobody is left to be told
        done = replace(move, done=True)
        self._write(done, lease)
        return done

    def _write(self, move: Move, lease: Lease | None) -> None:
        text = json.dumps(asdict(move), ensure_ascii=False)

        def write(mlflow: Any) -> None:
            if lease is not None:
                lease.renew()
            mlflow.set_registered_model_tag(self.model, self.record, text)

        self.client.patiently(write)
