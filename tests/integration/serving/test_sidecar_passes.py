"""The sidecar passes requests on, and answers back, as they are: on real sockets, byte by byte."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from selfemo.serving.sidecar import forward
from selfemo.serving.sidecar.upstream import Waits
from tests.integration.serving.behind import FIRST, LAST, SECONDS, Before, Behind, before, listening, until
from tests.integration.serving_limits.clients import answered, sent


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def passing(behind: Behind, tmp_path: Path) -> Iterator[Before]:
    with listening(behind) as (url, _), before(url, tmp_path / "kept") as found:
        yield found


def test_a_request_arrives_as_it_was_sent(passing: Before, behind: Behind) -> None:
    body = b"\x00 not JSON \xff"
    given = [("authorization", "Bearer theirs"), ("x-mine", "one"), ("x-mine", "two"), ("accept-encoding", "br")]
    with passing.http() as client:
        client.request("PUT", "/v1/a%2Fb//c?x=%20&y", content=body, headers=given)
        client.get("/docs")
        assert client.head("/docs").headers["content-length"] == "2"
    asked, second, third = behind.asked
    assert third["method"] == "HEAD"
    assert (asked["method"], asked["target"], asked["body"]) == ("PUT", "/v1/a%2Fb//c?x=%20&y", body)
    headers = asked["headers"]
    for name, value in given:
        assert (name.encode(), value.encode()) in headers
    ours = dict(headers)
    assert ours[b"content-length"] == str(len(body)).encode()
    assert ours[b"x-forwarded-for"] == b"127.0.0.1"
    assert (ours[b"x-forwarded-host"].decode(), ours[b"x-forwarded-proto"]) == (passing.url[7:], b"http")
    assert ours[b"host"].decode() != passing.url[7:]
    assert b"content-length" not in dict(second["headers"])


def test_headers_of_one_connection_stay_there_and_a_chain_of_proxies_grows(passing: Before, behind: Behind) -> None:
    head = "GET /x HTTP/1.1\nhost: front\nconnection: close, x-secret\nx-secret: 1\nte: trailers\nupgrade: h2c\n"
    with passing.open() as connection:
        sent(connection, f"{head}x-forwarded-for: 192.0.2.7\nx-forwarded-proto: https\n\n", b"", 0)
        assert b" 200 " in connection.recv(1 << 16)
    found = dict(behind.asked[0]["headers"])
    assert not {b"x-secret", b"te", b"upgrade", b"connection"} & set(found)
    assert found[b"x-forwarded-for"] == b"192.0.2.7, 127.0.0.1"
    assert (found[b"x-forwarded-proto"], found[b"x-forwarded-host"]) == (b"https", b"front")


@pytest.mark.parametrize("status", [201, 204, 307, 404, 422, 429, 500, 503])
def test_an_answer_comes_back_as_it_is(passing: Before, behind: Behind, status: int) -> None:
    packed = b"" if status == 204 else gzip.compress(b"words " * 100)
    headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"location", b"http://192.0.2.1/")]
    behind.answer = (status, [*headers, (b"content-encoding", b"gzip"), (b"retry-after", b"7")], packed)
    with passing.http() as client, client.stream("POST", "/v1/completions", content=b"x") as answer:
        raw = b"".join(answer.iter_raw())
    assert (answer.status_code, raw) == (status, packed)
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert (answer.headers["location"], answer.headers["retry-after"]) == ("http://192.0.2.1/", "7")
    names = [name.lower() for name, _ in answer.headers.raw]
    assert names.count(b"date") == names.count(b"x-request-id") == 1
    assert len(behind.asked) == 1  # it follows nothing, and asks nothing twice


def test_a_stream_comes_while_it_is_made_and_its_bytes_are_those_of_the_server_behind(
    passing: Before, behind: Behind
) -> None:
    with passing.http() as client, client.stream("POST", "/v1/chat/completions", json={"stream": True}) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == FIRST  # the last one is not made yet
        behind.may.set()
        assert b"".join(pieces) == LAST
    assert answer.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("path", ["/stream", "/silent"])
def test_who_leaves_is_not_worked_for(passing: Before, behind: Behind, path: str) -> None:
    connection = passing.open()
    sent(connection, f"GET {path} HTTP/1.1\nhost: x\n\n", b"", 0)
    if path == "/stream":
        assert b"200 OK" in connection.recv(1 << 16)
    else:
        until(lambda: behind.asked)
    connection.close()
    assert behind.left.wait(SECONDS)


def test_a_body_that_is_too_large_is_refused(passing: Before, behind: Behind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "BODY_BYTES", 1000)
    with passing.http() as client:
        assert client.post("/x", content=b" " * 1000).status_code == 200
        refused = client.post("/x", content=b" " * 1001)
        chunked = client.post("/x", content=iter([b" " * 600] * 2))
        assert client.post("/x", content=iter([b" " * 600])).status_code == 200
    for answer in (refused, chunked):
        assert (answer.status_code, answer.json()["error"]["message"]) == (413, "a request has at most 1000 bytes")
    assert [len(a["body"]) for a in behind.asked if len(a["body"]) in (600, 1000)] == [1000, 600]


def test_who_says_twice_how_long_a_body_is_gets_nothing_through(passing: Before, behind: Behind) -> None:
    """What stands before the sidecar may go by the other of the two, and take the rest for a request (smuggling)."""
    head = "POST /x HTTP/1.1\nhost: x\ncontent-length: 5\ntransfer-encoding: chunked\n\n"
    with passing.open() as connection:
        sent(connection, head, b"0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: x\r\n\r\n", 1)
        assert answered(connection)[0] == 400
        assert connection.recv(1) == b"", "and the connection is closed"
    assert behind.asked == []


def test_a_body_that_does_not_arrive_ends_its_request(behind: Behind, tmp_path: Path) -> None:
    with (
        listening(behind) as (url, _),
        before(url, tmp_path, body_seconds=0.05) as passing,
        passing.open() as connection,
    ):
        sent(connection, "POST /x HTTP/1.1\nhost: x\ncontent-length: 100\n\n", b"{", 1)
        assert answered(connection)[0] == 408


@pytest.mark.parametrize(
    "line", ["GET http://192.0.2.1/x", "GET https://127.0.0.1:1/", "CONNECT 127.0.0.1:1", "OPTIONS *"]
)
def test_who_names_another_server_is_refused(passing: Before, behind: Behind, line: str) -> None:
    with passing.open() as connection:
        sent(connection, f"{line} HTTP/1.1\nhost: x\n\n", b"", 0)
        assert answered(connection)[0] == 400
    assert behind.asked == []


def test_no_proxy_is_asked_for_the_server_behind(
    behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with listening(behind) as (url, _), before(url, tmp_path) as passing:
        assert httpx.get(f"{passing.url}/x", trust_env=False).status_code == 200


def test_one_that_is_away_is_said_to_be_and_is_found_when_it_comes(behind: Behind, tmp_path: Path) -> None:
    at = socket.socket()
    at.bind(("127.0.0.1", 0))  # bound, and nobody listens
    with before(f"http://127.0.0.1:{at.getsockname()[1]}", tmp_path) as passing, passing.http() as client:
        away = client.post("/v1/chat/completions", content=b" " * 100_000)
        assert (away.status_code, away.headers["retry-after"]) == (503, "5")
        assert "takes no connections" in away.json()["error"]["message"]
        health = client.get("/healthz")
        assert (health.status_code, health.json()["upstream"]) == (503, False)
        assert client.get("/livez").status_code == 200
        at.listen()
        with listening(behind, at=at):
            assert client.post("/v1/chat/completions", content=b"{}").status_code == 200
            assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (
                200,
                {"status": "ok", "upstream": True},
            )


def test_one_that_says_nothing_or_breaks_off_is_told_apart(behind: Behind, tmp_path: Path) -> None:
    with (
        listening(behind) as (url, _),
        before(url, tmp_path, waits=Waits(silent=0.2)) as passing,
        passing.http() as client,
    ):
        assert client.get("/silent").status_code == 504
        assert behind.left.wait(SECONDS)
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            client.get("/broken")

    def hang_up() -> None:
        accepted, _ = rude.accept()
        accepted.recv(1 << 16)
        accepted.close()

    with socket.create_server(("127.0.0.1", 0)) as rude:
        thread = threading.Thread(target=hang_up)
        thread.start()
        with before(f"http://127.0.0.1:{rude.getsockname()[1]}", tmp_path) as passing, passing.http() as client:
            assert client.get("/x").status_code == 502
        thread.join(SECONDS)


def test_it_finishes_what_it_has_when_it_is_told_to_stop(passing: Before, behind: Behind) -> None:
    with passing.http() as client, client.stream("GET", "/stream") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == FIRST
        passing.uvicorn.handle_exit(15, None)
        late = http.client.HTTPConnection(passing.url[7:], timeout=SECONDS)
        late.request("GET", "/x")
        assert late.getresponse().status == 503
        behind.may.set()
        assert b"".join(pieces) == LAST


def test_the_metrics_of_the_server_behind_are_not_hidden_and_those_of_its_own_have_a_path(
    passing: Before, behind: Behind
) -> None:
    behind.answer = (200, [(b"content-type", b"text/plain")], b"vllm:num_requests_running 3\n")
    with passing.http() as client:
        assert client.get("/metrics").text == "vllm:num_requests_running 3\n"
        client.post("/v1/chat/completions", content=b"{}", headers={"x-request-id": "mine"})
        until(lambda: passing.log)  # a request is counted once its answer is sent
        own = client.get("/collect/metrics").text
    assert 'selfemo_requests_total{path="/v1/chat/completions",status="200"} 1.0' in own
    assert 'selfemo_collected_total{outcome="stored"} 0.0' in own and "selfemo_step_requests" not in own
    (row,) = map(json.loads, passing.log)  # probes and scrapes are no requests of clients
    assert (row["path"], row["id"], row["status"]) == ("/v1/chat/completions", "mine", 200)
    assert row["prompt_tokens"] is None
    assert (b"x-request-id", b"mine") in behind.asked[-1]["headers"]


def test_a_page_of_another_name_is_refused_where_no_key_is_asked(behind: Behind, tmp_path: Path) -> None:
    names = ("127.0.0.1", "localhost")
    with listening(behind) as (url, _), before(url, tmp_path, "", names) as passing, passing.http() as client:
        assert client.get("/x", headers={"host": "evil.example"}).status_code == 400
        assert behind.asked == []
        assert client.get("/x").status_code == 200
