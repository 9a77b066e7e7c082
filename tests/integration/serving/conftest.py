"""A real server over a tiny real model, for OpenAI's own client and for raw HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.serving.app import app
from selfemo.serving.collect import Collector
from selfemo.serving.limits import Limits
from selfemo.serving.scheduler import Scheduler
from selfemo.serving.server import server
from selfemo.serving.service import Service
from tests.spaces import SPACES

SECONDS = 60
"""That anything is waited for before a test fails; nothing takes that long when it works."""


@pytest.fixture(scope="session")
def player(tiny: Path) -> Player:
    tokenizer = load_tokenizer(str(tiny))
    return Player(TransformersEngine(load_model(str(tiny)), tokenizer), Prompter(tokenizer), "tiny")


@pytest.fixture(scope="session")
def service(player: Player) -> Service:
    return Service(player, "self-emo", "sample", SPACES, {"digest": "d" * 64})


@pytest.fixture(autouse=True)
def seed_of_who_names_none(monkeypatch: pytest.MonkeyPatch) -> int:
    """A request without a seed gets this one: what a test sees does not depend on chance."""
    monkeypatch.setattr("selfemo.serving.service.randbits", lambda _: 1)
    return 1


@dataclass
class Served:
    """A server that listens.

    Attributes:
        url: Of it.
        scheduler: Its engine's.
        log: Lines of its access log.
        ask_to_stop: What a signal does.
    """

    url: str
    scheduler: Scheduler
    ask_to_stop: Callable[[], None]
    thread: threading.Thread
    log: list[str] = field(default_factory=list)

    def http(self, key: str = "") -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, timeout=SECONDS, headers=headers)

    def openai(self, key: str = "x") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=SECONDS)


def served(
    service: Service, key: str = "", limits: Limits | None = None, collector: Collector | None = None
) -> Iterator[Served]:
    """Start one, and stop it at the end."""
    log: list[str] = []
    made = app(service, key, (), limits, log.append, collector)
    ours = server(made, "127.0.0.1", 0, limits, made.state.scheduler)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=ours.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Served(
            f"http://127.0.0.1:{listening.getsockname()[1]}",
            made.state.scheduler,
            lambda: ours.handle_exit(15, None),
            thread,
            log,
        )
    finally:
        ours.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def running(service: Service) -> Iterator[Served]:
    yield from served(service)


@pytest.fixture
def start(service: Service) -> Iterator[Callable[..., Served]]:
    """Servers with settings of a test's own."""
    begun: list[Iterator[Served]] = []

    def one(key: str = "", **limits: Any) -> Served:
        begun.append(served(service, key, Limits(**limits)))
        return next(begun[-1])

    yield one
    for each in begun:
        next(each, None)
