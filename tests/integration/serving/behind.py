"""A server that stands behind the sidecar, and does what a test tells it to; and the sidecar before it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
from starlette.types import ASGIApp, Receive, Scope, Send

from selfemo.data.dialogue import Dialogue
from selfemo.data.feedback import Feedback
from selfemo.data.redaction import Patterns
from selfemo.serving.collect import Collector, RetentionBounds
from selfemo.serving.limits import Limits
from selfemo.serving.server import Drained, server
from selfemo.serving.sidecar.app import Sidecar, sidecar
from selfemo.serving.sidecar.upstream import Upstream, Waits
from tests.spaces import SPACES

SECONDS = 60
FIRST, LAST = b'data: {"n": 1}\n\n', b"data: [DONE]\n\n"


def until(true: Callable[[], Any]) -> None:
    """Wait until something is so."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < SECONDS
        time.sleep(0.01)


@dataclass
class Behind:
    """The application of a server behind: it tells what it was asked, and answers as the path says.

    Attributes:
        answer: Status, headers and body of every answer but those below.
        may: Lets the last piece of ``/stream`` go.
        left: Set when the client of ``/stream`` or ``/silent`` has left.
    """

    answer: tuple[int, list[tuple[bytes, bytes]], bytes] = (200, [(b"content-type", b"application/json")], b"{}")
    asked: list[dict[str, Any]] = field(default_factory=list)
    may: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/health":
            await _whole(send, 200, [], b"")
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        self.asked.append(
            {"method": scope["method"], "target": target.decode(), "headers": scope["headers"], "body": body}
        )
        if scope["path"] == "/silent":
            await self._gone(receive)
        elif scope["path"] == "/broken":
            head = [(b"content-length", b"1000")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": FIRST, "more_body": True})
        elif scope["path"] == "/stream" or b'"stream":true' in body.replace(b" ", b""):
            await self._stream(receive, send)
        else:
            await _whole(send, *self.answer)

    async def _stream(self, receive: Receive, send: Send) -> None:
        import anyio

        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": FIRST, "more_body": True})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._gone, receive)
            while not (self.may.is_set() or self.left.is_set()):
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": LAST, "more_body": False})

    async def _gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


async def _whole(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@contextlib.contextmanager
def listening(
    app: ASGIApp,
    drained: Drained | None = None,
    *,
    between: bool = False,
    limits: Limits | None = None,
    at: socket.socket | None = None,
) -> Iterator[tuple[str, Any]]:
    """A real server for an application: its address, and uvicorn's object."""
    ours = server(app, "127.0.0.1", 0, limits, drained, between=between)
    listens = at or socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=ours.run, kwargs={"sockets": [listens]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listens.getsockname()[1]}", ours
    finally:
        ours.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()


@dataclass
class Before:
    """A sidecar that listens, and what it keeps."""

    url: str
    made: Sidecar
    collector: Collector
    uvicorn: Any
    log: list[str]

    def http(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=SECONDS, headers=headers)

    def openai(self, key: str = "key") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=SECONDS)

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), timeout=SECONDS)

    def kept(self) -> list[Dialogue]:
        """What was written, once all of it is."""
        self.collector.close(SECONDS)
        return list(self.collector.place.conversations())


@contextlib.contextmanager
def before(
    url: str,
    place: Path,
    key: str = "key",
    hosts: tuple[str, ...] = (),
    share: float = 1.0,
    waits: Waits | None = None,
    **limits: Any,
) -> Iterator[Before]:
    """A sidecar before the server at an address."""
    log: list[str] = []
    bounds = Limits(**limits)
    collector = Collector(
        Feedback.at(str(place)), Patterns().ready(), "", bounds=RetentionBounds(share=share, seconds=0.1)
    )
    made = sidecar(Upstream(url, waits), collector, SPACES, "sample", key, hosts, bounds, log.append)
    try:
        with listening(made.app, made.forward, between=True, limits=bounds) as (own, uvicorn):
            yield Before(own, made, collector, uvicorn, log)
    finally:
        collector.close(SECONDS)
