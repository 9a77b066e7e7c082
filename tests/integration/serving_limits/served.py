"""A server that listens on a real socket, with an engine that answers when it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfemo.policy.engine import Completion, Sampling

SECONDS = 60
"""That anything is waited for before a test fails; nothing takes that long when it works."""
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
MIB = 1 << 20


class Tokenizer:
    eos_token_id = 0

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return bytes(i for i in ids if i).decode(errors="replace")

    def apply_chat_template(self, messages: Sequence[Any], **_: Any) -> str:
        return str(messages[-1]["content"])

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}


class Prompter:
    tokenizer = Tokenizer()

    def neutralise_lines(self, text: str) -> str:
        return text

    def window(self, turns: Sequence[Any]) -> Sequence[Any]:
        return turns


@dataclass
class Engine:
    """Says its prompt again, once it may. `begun` is what it was asked, in order."""

    may: threading.Event = field(default_factory=threading.Event)
    begun: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def sample(self, prompts: Any, seeds: Any, sampling: Sampling) -> list[list[Completion]]:
        texts = [bytes(prompt).decode() for prompt in prompts]
        with self.changed:
            self.begun += texts
            self.changed.notify_all()
        assert self.may.wait(SECONDS)
        return [[Completion((*text.encode(), 0), text, (0.0,) * (len(text) + 1))] * sampling.n for text in texts]


@dataclass
class Player:
    engine: Engine
    prompter: Prompter = field(default_factory=Prompter)


@dataclass
class Counted:
    """The application, and the bytes of bodies that the server has handed to it."""

    app: ASGIApp
    bytes: int = 0
    requests: int = 0
    ended: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted() -> Message:
            message = await receive()
            self.bytes += len(message.get("body", b""))
            return message

        with self.changed:
            self.requests += scope["type"] == "http"
            self.changed.notify_all()
        await self.app(scope, counted, send)
        with self.changed:
            self.ended += scope["type"] == "http"
            self.changed.notify_all()


@dataclass
class Running:
    """A server that listens."""

    port: int
    engine: Engine
    counted: Counted
    stop: Callable[[], None]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """One request over a connection of its own: status, parsed body, headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            given = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
            connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), given)
            answer = connection.getresponse()
            text = answer.read()
            parsed = json.loads(text) if answer.getheader("content-type") == "application/json" else text.decode()
            return answer.status, parsed, {k.lower(): v for k, v in answer.getheaders()}

    def chat(self, text: str = "hi", **headers: str) -> tuple[int, Any, dict[str, str]]:
        return self.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}, **headers)

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def saw(self, requests: int = 0, ended: int = 0) -> None:
        """Wait until so many requests have reached the application, and so many left it."""

        def seen() -> bool:
            return self.counted.requests >= requests and self.counted.ended >= ended

        with self.counted.changed:
            assert self.counted.changed.wait_for(seen, SECONDS)

    def holds(self, requests: int) -> None:
        """Wait until the engine works on so many, those that wait for it among them."""
        self.shows("selfemo_requests_in_flight", requests)

    def shows(self, name: str, value: float) -> None:
        """Wait until a figure has a value."""
        end = time.monotonic() + SECONDS
        while self.figures().get(name) != value:
            assert time.monotonic() < end
            time.sleep(0.01)

    def figures(self) -> dict[str, float]:
        """What Prometheus would read, by name and labels."""
        status, text, _ = self.ask("GET", "/metrics")
        assert status == 200
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    def begun(self, count: int) -> None:
        """Wait until the engine has begun so many."""
        with self.engine.changed:
            assert self.engine.changed.wait_for(lambda: len(self.engine.begun) >= count, SECONDS)


Start = Callable[..., Running]
