"""A connection without a whole request is closed in time; one whose request is answered stays open."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from selfemo.serving.server import _Connection, more_files
from tests.integration.serving_limits.served import CHAT, SECONDS, Start


@pytest.fixture
def files() -> Iterator[None]:
    """As many open files as the server gives itself."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    more_files()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 5000:
        pytest.skip("this machine does not let a process have 5,000 open files")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("files")
def test_2000_connections_without_a_whole_head_keep_nobody_out_and_are_closed(start: Start) -> None:
    running = start(head_seconds=2)
    with contextlib.ExitStack() as all_of_them:
        half = [all_of_them.enter_context(running.open()) for _ in range(2000)]
        for connection in half:
            with contextlib.suppress(ConnectionError):  # the first may be closed already
                connection.sendall(b"GET /healthz HTTP/1.1\r\nx")
        assert running.ask("GET", "/healthz")[0] == 200
        for connection in half:
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b""


def test_a_connection_is_not_closed_while_its_request_is_answered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = _Connection._look_after, threading.Semaphore(0)

    def counted(self: _Connection, answered: Any) -> None:
        look(self, answered)
        looks.release()

    monkeypatch.setattr(_Connection, "_look_after", counted)
    running = start(head_seconds=0.01)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), {"content-type": "application/json"})
        running.begun(1)
        for _ in range(3):
            assert looks.acquire(timeout=SECONDS)
        running.engine.may.set()
        assert connection.getresponse().read()
