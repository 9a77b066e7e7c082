"""A lock that many machines can hold one at a time: one small file of the store, changed by conditional writes alone.

The file stays; each holder replaces it, if it is still what was read, by one with a token of its own. A holder that
dies is waited for until its time is up, and then replaced by the next.
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

FREE: dict[str, Any] = {"owner": "", "token": "", "until": 0.0}


class Busy(UserError):
    """Somebody else holds the lock."""


def who() -> str:
    """Who acts here, for records: ``SELFEMO_ACTOR``, a pod's name, or user and machine."""
    if given := os.environ.get("SELFEMO_ACTOR") or os.environ.get("KFP_POD_NAME"):
        return given
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


@contextmanager
def held(backend: Backend, uri: str, *, seconds: float = 300.0, wait: float = 0.0) -> Iterator[str]:
    """Hold the lock while the block runs.

    Args:
        backend: That serves the URI.
        uri: Of the lock's file.
        seconds: After which others may take it from a holder that has not given it back.
        wait: Longest time to wait for it.

    Yields:
        The token by which this holder is known.

    Raises:
        Busy: If somebody else holds it: who, and for how long at most.
    """
    token, deadline = uuid.uuid4().hex, time.monotonic() + wait
    while (mine := _take(backend, uri, token, seconds)) is None:
        if time.monotonic() >= deadline:
            holder = _parse(backend.read(uri))
            left = max(0, holder["until"] - time.time())
            raise Busy(
                f"held by {holder['owner'] or 'somebody'}", where=uri,
                fix=f"give the same command again when they are done, or in {left:.0f} s if they were killed",
            )  # fmt: skip
        time.sleep(min(1.0, max(0.05, wait / 20)))
    try:
        yield token
    finally:
        backend.swap(uri, mine, json.dumps(FREE).encode())  # unless it was taken over meanwhile


def _take(backend: Backend, uri: str, token: str, seconds: float) -> bytes | None:
    """Try once; what now stands in the file, or None."""
    mine = json.dumps({"owner": who(), "token": token, "until": time.time() + seconds}).encode()
    if backend.create(uri, mine):
        return mine
    found = backend.read(uri)
    if found is None:
        return None
    held_by = _parse(found)
    if held_by["token"] == token:  # a write that was retried by the client, and had been the first
        return found
    if held_by["until"] > time.time() or not backend.swap(uri, found, mine):
        return None
    return mine


def _parse(data: bytes | None) -> dict[str, Any]:
    """Contents of the file; one that is damaged is free."""
    try:
        row = json.loads(data or b"{}")
        return {"owner": str(row["owner"]), "token": str(row["token"]), "until": float(row["until"])}
    except (ValueError, KeyError, TypeError):
        return dict(FREE)
