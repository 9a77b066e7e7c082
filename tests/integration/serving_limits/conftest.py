"""Starts servers for the tests of what one client may take of the server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from selfemo.serving.app import app
from selfemo.serving.limits import Limits
from selfemo.serving.server import server
from selfemo.serving.service import Service
from tests.integration.serving_limits.served import SECONDS, Counted, Engine, Player, Running, Start
from tests.spaces import SPACES


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers in threads; they are stopped, and what they work on let go, at the end."""
    with contextlib.ExitStack() as all_of_them:

        def started(key: str = "", hosts: Sequence[str] = (), **limits: Any) -> Running:
            engine, bounds = Engine(), Limits(**limits)
            service = Service(Player(engine), "self-emo", "sample", SPACES, {})  # type: ignore[arg-type]  # a stand-in of the test
            counted = Counted(app(service, key, hosts, bounds))
            ours = server(counted, "127.0.0.1", 0, bounds)
            listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
            thread = threading.Thread(target=ours.run, kwargs={"sockets": [listening]})

            def stop() -> None:
                ours.should_exit = True
                thread.join(SECONDS)
                assert not thread.is_alive()

            thread.start()
            all_of_them.callback(stop)
            all_of_them.callback(engine.may.set)
            return Running(listening.getsockname()[1], engine, counted, stop)

        yield started
