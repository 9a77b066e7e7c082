"""How much of a request's body is read, and for how long the server waits for it."""

from __future__ import annotations

import http.client
import json

import pytest

from tests.integration.serving_limits.clients import answered, sent
from tests.integration.serving_limits.served import CHAT, MIB, Start


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
