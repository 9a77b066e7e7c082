"""What one client may take of the server: a real uvicorn, real sockets, an engine that answers when it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfemo.policy.engine import Completion, Sampling
from selfemo.serving.app import app
from selfemo.serving.command import HOSTS
from selfemo.serving.limits import Limits
from selfemo.serving.server import _Connection, more_files, server
from selfemo.serving.service import Service

SECONDS = 60
"""That anything is waited for before a test fails; nothing takes that long when it works."""
CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
MIB = 1 << 20


class Tokenizer:
    def apply_chat_template(self, messages: Sequence[Any], **_: Any) -> str:
        return str(messages[-1]["content"])

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}


class Prompter:
    tokenizer = Tokenizer()

    def neutralise_lines(self, text: str) -> str:
        return text


@dataclass
class Engine:
    """Says its prompt again, once it may. `begun` is what it was asked, in order."""

    may: threading.Event = field(default_factory=threading.Event)
    begun: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def sample(self, prompts: Any, seeds: Any, sampling: Sampling) -> list[list[Completion]]:
        text = bytes(prompts[0]).decode()
        with self.changed:
            self.begun.append(text)
            self.changed.notify_all()
        assert self.may.wait(SECONDS)
        return [[Completion((1,), text, (0.0,))] * sampling.n]


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

    def begun(self, count: int) -> None:
        """Wait until the engine has begun so many."""
        with self.engine.changed:
            assert self.engine.changed.wait_for(lambda: len(self.engine.begun) >= count, SECONDS)


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers in threads; they are stopped, and what they work on let go, at the end."""
    with contextlib.ExitStack() as all_of_them:

        def started(key: str = "", hosts: Sequence[str] = (), **limits: Any) -> Running:
            engine, bounds = Engine(), Limits(**limits)
            service = Service(Player(engine), "self-emo", "sample", {})  # type: ignore[arg-type]
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


# Who is let in


@pytest.mark.parametrize("path", ["/v1/models", "/v1/emotions", "/docs", "/openapi.json", "/nowhere"])
def test_where_there_is_a_key_only_health_is_open(start: Start, path: str) -> None:
    running = start("secret")
    for given in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic secret"},
        {"authorization": "secret"},
    ):
        status, body, headers = running.ask("GET", path, **given)
        assert (status, body["error"]["code"]) == (401, 401)
        assert headers["www-authenticate"] == "Bearer"
    assert running.ask("GET", path, authorization="Bearer secret")[0] != 401
    assert running.ask("GET", path, authorization="bearer secret")[0] != 401  # schemes have no case
    assert running.ask("GET", "/healthz")[1]["status"] == "ok"


def test_without_the_key_a_body_is_not_read(start: Start) -> None:
    running = start("secret")
    head = "POST /v1/emotions HTTP/1.1\nhost: x\ncontent-type: application/json\ncontent-length: 40000000\n\n"
    with running.open() as connection:
        out = sent(connection, head, b"x" * 100_000, 40_000_000)
        assert answered(connection)[0] == 401
    assert out < 40_000_000, "the rest was not taken: the connection was closed"
    assert running.counted.bytes < 2 * MIB, "and what came was dropped after a bound"


def test_a_client_that_asks_before_it_sends_a_body_is_told_at_once(start: Start) -> None:
    running = start("secret")
    with running.open() as connection:
        sent(
            connection,
            "POST /v1/emotions HTTP/1.1\nhost: x\ncontent-length: 40000000\nexpect: 100-continue\n\n",
            b"",
            0,
        )
        assert answered(connection)[0] == 401  # and not 100
    assert running.counted.bytes == 0


def test_a_name_that_is_not_the_machines_own_is_refused_where_no_key_is_asked(start: Start) -> None:
    running = start(hosts=HOSTS)
    for name in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
        assert running.ask("GET", "/v1/models", host=name)[0] == 200
    for name in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80"):
        assert running.ask("GET", "/v1/models", host=name)[0] == 400
        assert running.ask("GET", "/healthz", host=name)[0] == 400


# How much is read


def test_a_body_that_says_it_is_too_large_is_refused_unread(start: Start) -> None:
    running = start()
    with running.open() as connection:
        sent(connection, f"POST /v1/emotions HTTP/1.1\nhost: x\ncontent-length: {MIB + 1}\n\n", b"", 0)
        assert answered(connection) == (
            413,
            {"message": f"a request has at most {MIB} bytes", "type": "invalid_request_error", "code": 413},
        )
    assert running.counted.bytes == 0
    running.engine.may.set()
    padded = json.dumps(CHAT).encode().ljust(MIB)
    assert running.ask("POST", "/v1/chat/completions", padded)[0] == 200  # exactly as large as it may be
    assert running.ask("POST", "/v1/chat/completions", padded + b" ")[0] == 413


@pytest.mark.parametrize("lie", ["", "content-length: 5\n"])
def test_a_body_without_a_length_or_with_a_false_one_is_counted(start: Start, lie: str) -> None:
    running = start()
    head = f"POST /v1/chat/completions HTTP/1.1\nhost: x\ncontent-type: application/json\n{lie}"
    head += "transfer-encoding: chunked\n\n"
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with running.open() as connection:
        sent(connection, head, chunk, 3 * MIB)
        assert answered(connection)[0] == 413
    assert running.counted.bytes < 3 * MIB
    assert running.engine.begun == []
    running.engine.may.set()
    text = json.dumps(CHAT).encode()
    with running.open() as connection:  # as some clients send what is small enough
        sent(connection, head, f"{len(text):x}\r\n".encode() + text + b"\r\n0\r\n\r\n", 1)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200


def test_a_body_that_does_not_arrive_ends_its_request(start: Start) -> None:
    running = start(body_seconds=0.05)
    with running.open() as connection:
        sent(connection, "POST /v1/emotions HTTP/1.1\nhost: x\ncontent-length: 100\n\n", b"{", 1)
        assert answered(connection)[0] == 408
        assert connection.recv(1) == b"", "and the connection is closed"


def test_a_client_that_leaves_in_the_middle_of_its_body_is_forgotten(start: Start) -> None:
    running = start()
    with running.open() as connection:
        sent(connection, "POST /v1/chat/completions HTTP/1.1\nhost: x\ncontent-length: 100\n\n", b"{", 1)
        running.saw(1)
    running.engine.may.set()
    assert running.chat("next")[0] == 200
    assert running.engine.begun == ["next"]


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


# Who waits


def test_health_is_answered_while_45_chats_wait(start: Start) -> None:
    running = start()
    threads, results = in_threads(45, lambda i: running.chat(f"chat {i}"))
    running.saw(45)
    running.begun(1)
    for _ in range(3):
        assert running.ask("GET", "/healthz")[:2] == (200, {"status": "ok", "model": "self-emo"})
    assert running.ask("GET", "/v1/models")[0] == 200
    assert results == []  # all of them wait still
    running.engine.may.set()
    joined(threads)
    assert [status for status, _, _ in results] == [200] * 45
    assert sorted(body["choices"][0]["message"]["content"] for _, body, _ in results) == sorted(
        f"chat {i}" for i in range(45)
    )


def test_no_more_wait_than_may_and_the_rest_are_told_to_come_again(start: Start) -> None:
    running = start(waiting=2, retry_seconds=7)
    threads, results = in_threads(1, lambda _: running.chat("at work"))
    running.begun(1)
    more, _ = in_threads(2, lambda i: results.append(running.chat(f"waits {i}")))
    running.saw(3)
    status, body, headers = running.chat("one too many")
    assert (status, body["error"]["type"], headers["retry-after"]) == (429, "rate_limit_error", "7")
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{running.port}/v1", api_key="x", max_retries=0)
    with pytest.raises(openai.RateLimitError, match="2 requests wait already"):
        client.chat.completions.create(model="self-emo", messages=CHAT["messages"])  # type: ignore[arg-type]
    assert running.ask("POST", "/v1/chat/completions", {"messages": []})[0] == 400  # what is wrong need not wait
    running.engine.may.set()
    joined([*threads, *more])
    assert [r[0] for r in results if isinstance(r, tuple)] == [200] * 3
    assert running.chat("later")[0] == 200
    assert "one too many" not in running.engine.begun


def test_nothing_is_done_for_a_client_that_left_and_its_place_is_free(start: Start) -> None:
    running = start(waiting=1)
    threads, _ = in_threads(1, lambda _: running.chat("at work"))
    running.begun(1)
    leaver = http.client.HTTPConnection("127.0.0.1", running.port)
    body = {"messages": [{"role": "user", "content": "leaves"}]}
    leaver.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    running.saw(2)
    assert running.chat("full")[0] == 429
    leaver.close()
    running.saw(ended=2)
    more, stays = in_threads(1, lambda _: running.chat("stays"))
    running.saw(4)
    running.engine.may.set()
    joined([*threads, *more])
    assert stays[0][0] == 200
    assert running.engine.begun == ["at work", "stays"]


def test_the_answer_of_a_client_that_left_in_the_middle_of_it_troubles_nobody(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    running = start()
    leaver = http.client.HTTPConnection("127.0.0.1", running.port)
    leaver.request("POST", "/v1/chat/completions", json.dumps(CHAT), {"content-type": "application/json"})
    running.begun(1)
    leaver.close()
    threads, results = in_threads(1, lambda _: running.chat("next"))
    running.saw(2)
    running.engine.may.set()
    joined(threads)
    assert results[0][0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_stream_comes_whole_through_all_this(start: Start) -> None:
    running = start("secret")
    running.engine.may.set()
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{running.port}/v1", api_key="secret")
    messages: Any = [{"role": "user", "content": "say it"}]
    pieces = client.chat.completions.create(model="self-emo", messages=messages, stream=True)
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == "say it"


# How it stops


def test_it_stops_in_time_and_tells_those_that_wait(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    running = start(stop_seconds=0)
    threads, results = in_threads(3, lambda i: running.chat(f"chat {i}"))
    running.saw(3)
    running.begun(1)
    running.stop()
    joined(threads)
    assert [(status, body["error"]["type"]) for status, body, _ in results] == [(503, "server_error")] * 3
    assert len(running.engine.begun) == 1
    assert "Traceback" not in capfd.readouterr().err


STOPS = """
import socket, sys, threading
from tests.integration.test_serving_limits import Engine, Player
from selfemo.serving.app import app
from selfemo.serving.limits import Limits
from selfemo.serving.server import server
from selfemo.serving.service import Service

class Endless(Engine):
    def sample(self, *_):
        print("begun", flush=True)
        threading.Event().wait()

limits = Limits(stop_seconds=0)
service = Service(Player(Endless()), "self-emo", "sample", {})
server(app(service, limits=limits), "127.0.0.1", 0, limits).run([socket.socket(fileno=int(sys.argv[1]))])
"""


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_an_engine_that_never_ends_does_not_keep_the_process(told: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-c", STOPS, str(listening.fileno())]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[listening.fileno()]) as process:
            try:
                connection = http.client.HTTPConnection(*listening.getsockname(), timeout=SECONDS)
                connection.request(
                    "POST", "/v1/chat/completions", json.dumps(CHAT), {"content-type": "application/json"}
                )
                assert process.stdout
                assert process.stdout.readline() == "begun\n"
                process.send_signal(told)
                assert connection.getresponse().status == 503
                process.wait(SECONDS)
            finally:
                process.kill()
