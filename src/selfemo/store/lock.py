"""A lock that many machines can hold one at a time: one small file of the store, changed by conditional writes alone.

The file stays; each holder replaces it, if it is still what was read, by one with a token of its own. A holder that
dies is waited for until its time is up, and then replaced by the next. How long a holder has not been heard of is told
by the store, which dates its files: no two machines' clocks are compared.

A holder that was replaced does not know it until it looks (:meth:`Lease.renew`). It looks right before a write that
only the holder may make, and once more afterwards; the write itself is made by another server, which knows nothing of
the lock. So one window is left: a process that stalls for longer than its time between the look and the write.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selfemo.errors import UserError
from selfemo.store.backends import Backend

FREE: dict[str, Any] = {"owner": "", "token": "", "renewed": 0}
SECONDS = 120.0
"""After which a holder that has not been heard of is replaced."""


class Busy(UserError):
    """Somebody else holds the lock."""


class Lost(UserError):
    """The lock was held, but for too long: somebody else has taken it over."""


def who() -> str:
    """Who acts here, for records: ``SELFEMO_ACTOR``, a pod's name, or user and machine."""
    if given := os.environ.get("SELFEMO_ACTOR") or os.environ.get("KFP_POD_NAME"):
        return given
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class Lease:
    """A lock that is held.

    Args:
        backend: That serves the URI.
        uri: Of the lock's file.
        contents: What this holder wrote there.
    """

    def __init__(self, backend: Backend, uri: str, contents: bytes) -> None:
        self._backend, self._uri, self._mine = backend, uri, contents

    @property
    def token(self) -> str:
        """By which this holder is known."""
        return str(_parse(self._mine)["token"])

    def renew(self) -> None:
        """Begin the holder's time anew; a write that only the holder may make comes right after.

        Raises:
            Lost: If somebody else has taken the lock over.
        """
        row = _parse(self._mine)
        anew = json.dumps({**row, "renewed": row["renewed"] + 1}).encode()
        if not self._backend.swap(self._uri, self._mine, anew) and self._backend.read(self._uri) != anew:
            raise Lost("the lock was held for too long, and somebody else has it now", where=self._uri, fix="try again")
        self._mine = anew

    def give_back(self) -> None:
        """Free the lock, unless it was taken over meanwhile."""
        self._backend.swap(self._uri, self._mine, json.dumps(FREE).encode())


@contextmanager
def held(backend: Backend, uri: str, *, seconds: float = SECONDS, wait: float = 0.0) -> Iterator[Lease]:
    """Hold the lock while the block runs.

    Args:
        backend: That serves the URI.
        uri: Of the lock's file.
        seconds: After which others may take it from a holder that has neither renewed it nor given it back.
        wait: Longest time to wait for it; longer than ``seconds`` outlasts a holder that was killed.

    Raises:
        Busy: If somebody else holds it: who, and for how long at most.
    """
    token, deadline = uuid.uuid4().hex, time.monotonic() + wait
    while (mine := _take(backend, uri, token, seconds)) is None:
        if time.monotonic() >= deadline:
            left = max(0.0, seconds - (backend.age(uri) or 0.0))
            raise Busy(
                f"held by {_parse(backend.read(uri))['owner'] or 'somebody'}",
                where=uri,
                fix=f"give the same command again when they are done, or in {left:.0f} s if they were killed",
            )
        time.sleep(min(1.0, max(0.05, wait / 20)))
    lease = Lease(backend, uri, mine)
    try:
        yield lease
    finally:
        lease.give_back()


def _take(backend: Backend, uri: str, token: str, seconds: float) -> bytes | None:
    """Try once; what now stands in the file, or None."""
    mine = json.dumps({**FREE, "owner": who(), "token": token}).encode()
    if backend.create(uri, mine):
        return mine
    found = backend.read(uri)
    if found is None:
        return None
    holder = _parse(found)["token"]
    if holder == token:  # a write that was retried by the client, and had been the first
        return found
    if holder:
        age = backend.age(uri)  # of what was read, or of something newer: then it is not replaced below
        if age is None or age < seconds:
            return None
    return mine if backend.swap(uri, found, mine) else None


def _parse(data: bytes | None) -> dict[str, Any]:
    """Contents of the file; one that is damaged is free."""
    try:
        row = json.loads(data or b"{}")
        renewed = row["renewed"] if type(row.get("renewed")) is int else 0
        return {"owner": str(row["owner"]), "token": str(row["token"]), "renewed": renewed}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return dict(FREE)
