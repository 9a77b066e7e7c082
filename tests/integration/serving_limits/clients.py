"""Clients of the server that send too much, and clients that ask at the same time."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tests.integration.serving_limits.served import SECONDS


def sent(connection: socket.socket, head: str, piece: bytes, most: int) -> int:
    """Send a head and then up to so many bytes of a body, until the other side hangs up; bytes that went out."""
    connection.sendall(head.replace("\n", "\r\n").encode())
    out = 0
    with contextlib.suppress(ConnectionError):
        while out < most:
            connection.sendall(piece)
            out += len(piece)
    return out


def answered(connection: socket.socket) -> tuple[int, Any]:
    """Status and error of the answer."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, json.loads(answer.read())["error"]


def in_threads(count: int, work: Callable[[int], Any]) -> tuple[list[threading.Thread], list[Any]]:
    results: list[Any] = []
    threads = [threading.Thread(target=lambda i=i: results.append(work(i))) for i in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


def joined(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join(SECONDS)
    assert not any(t.is_alive() for t in threads)
