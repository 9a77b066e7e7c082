"""S3 as people have it: too old for the lock, refusing, cut off, away; a line says what and where."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from selfemo.errors import CorruptArtifact, UserError
from selfemo.store import s3
from selfemo.store.artifacts import Store
from selfemo.store.lock import Busy, held
from selfemo.store.s3 import S3Backend
from tests.unit.s3.server import Server

KEYS = ("key", "secret")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Server]]:
    started: list[Server] = []

    def start(kind: str = "new") -> Server:
        started.append(Server(kind))
        return started[-1]

    monkeypatch.setattr(S3Backend, "_sure_of", set())
    yield start
    for server in started:
        server.stop()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for: the patience is at its end with the first failure."""
    monkeypatch.setattr(s3, "PATIENCE", 0.0)


def store_on(server: Server, place: Path) -> Store:
    return Store("s3://bucket/prefix", place, server.uri, KEYS)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("deaf", "it ignores If-None-Match and If-Match"),
        ("half", "it ignores If-Match"),
        ("refuses", "not implemented"),
    ],
)
def test_a_store_that_knows_no_conditions_is_refused_before_it_lets_two_in(
    serve: Callable[[str], Server], tmp_path: Path, kind: str, words: str
) -> None:
    server = serve(kind)
    store = store_on(server, tmp_path)
    lock = b'{"owner": "colleague", "token": "t", "renewed": 0}'
    server.objects["/bucket/prefix/locks/promotion"] = lock
    uri = store.uri("locks", "promotion")
    with pytest.raises(UserError, match=words) as raised, held(store.backend(uri), uri):
        pass
    assert "one that honours them" in str(raised.value.fix)
    assert server.uri in str(raised.value.where)
    assert server.objects == {"/bucket/prefix/locks/promotion": lock}, "nothing was changed, nothing is left"


def test_a_store_that_honours_them_is_asked_once_a_process(serve: Callable[[str], Server], tmp_path: Path) -> None:
    server = serve("new")
    store = store_on(server, tmp_path)
    uri = store.uri("locks", "promotion")
    with held(store.backend(uri), uri), pytest.raises(Busy), held(store.backend(uri), uri):
        pass
    probes = {path for _, path in server.asked if ".probe-" in path}
    assert len(probes) == 1
    with held(store_on(server, tmp_path).backend(uri), uri):
        assert {path for _, path in server.asked if ".probe-" in path} == probes
    assert set(server.objects) == {"/bucket/prefix/locks/promotion"}


def test_who_may_not_delete_leaves_the_probe_and_goes_on(serve: Callable[[str], Server], tmp_path: Path) -> None:
    server = serve("new")
    server.fault = lambda method, path: 403 if method == "DELETE" else None
    store = store_on(server, tmp_path)
    assert store.backend(store.root).create(store.uri("a"), b"1")


def test_an_old_store_is_told_what_its_checksums_want(serve: Callable[[str], Server], tmp_path: Path) -> None:
    store = store_on(serve("old"), tmp_path)
    with pytest.raises(UserError, match="AWS_REQUEST_CHECKSUM_CALCULATION=when_required"):
        store.backend(store.root).create(store.uri("a"), b"1")


@pytest.mark.parametrize(
    "ask",
    [
        lambda b, uri, file: b.read(uri),
        lambda b, uri, file: b.create(uri, b"1"),
        lambda b, uri, file: b.swap(uri, b"0", b"1"),
        lambda b, uri, file: b.upload(file, uri),
        lambda b, uri, file: b.download(uri, file),
        lambda b, uri, file: b.remove(uri),
        lambda b, uri, file: list(b.scan(uri)),
        lambda b, uri, file: list(b.list(uri)),
    ],
    ids=["read", "create", "swap", "upload", "download", "remove", "scan", "list"],
)
def test_whatever_is_refused_names_object_server_and_fix(
    serve: Callable[[str], Server], tmp_path: Path, ask: Callable[[S3Backend, str, Path], object]
) -> None:
    server = serve("new")
    server.fault = lambda method, path: 403
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(UserError) as raised:
        ask(S3Backend(server.uri, KEYS), "s3://bucket/prefix/x", tmp_path / "file")
    assert str(raised.value.where).startswith("s3://bucket/prefix/")
    assert server.uri in str(raised.value.where)
    assert "AWS_ACCESS_KEY_ID" in str(raised.value.fix)


def test_a_server_that_is_away_is_said_and_given_up_after_a_while(
    serve: Callable[[str], Server], at_once: None, tmp_path: Path
) -> None:
    server = serve("new")
    server.fault = lambda method, path: 503
    with pytest.raises(UserError, match="it answers 503") as raised:
        S3Backend(server.uri, KEYS).read("s3://bucket/x")
    assert server.uri in str(raised.value.where)
    server.stop()
    with pytest.raises(UserError, match="Could not connect") as raised:
        S3Backend(server.uri, KEYS).upload(Path(__file__), "s3://bucket/x")
    assert server.uri in str(raised.value)
    assert "see whether it runs" in str(raised.value.fix)


def test_a_server_that_comes_back_is_waited_for_and_that_is_said(
    serve: Callable[[str], Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve("new")
    server.objects["/bucket/x"] = b"1"
    server.fault = lambda method, path: 503 if len(server.asked) < 2 else None
    with caplog.at_level(logging.WARNING, "selfemo"):
        assert S3Backend(server.uri, KEYS).read("s3://bucket/x") == b"1"
    (said,) = [r.getMessage() for r in caplog.records]
    assert f"S3 at {server.uri}: trying again, for 180 s: it answers 503" in said


def test_an_answer_that_is_cut_off_is_asked_for_again(serve: Callable[[str], Server], tmp_path: Path) -> None:
    server = serve("new")
    server.objects["/bucket/x"] = b"0123456789" * 10
    left = ["cut", None, "cut", "cut"]
    server.fault = lambda method, path: left.pop(0)
    backend = S3Backend(server.uri, KEYS)
    assert backend.read("s3://bucket/x") == b"0123456789" * 10
    with pytest.raises(UserError, match="reading failed"):
        backend.read("s3://bucket/x")


def test_bytes_that_were_damaged_on_the_way_are_fetched_again(serve: Callable[[str], Server], tmp_path: Path) -> None:
    server = serve("new")
    store = store_on(server, tmp_path / "cache")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"good")
    store.publish(tmp_path / "d", store.uri("x"), step="s")
    right = dict(server.objects)

    def damaged(times: int) -> Callable[[str, str], None]:
        left = dict.fromkeys(right, times)

        def fault(method: str, path: str) -> None:
            if method == "GET" and path in right:
                left[path] -= 1
                server.objects[path] = right[path][::-1] if left[path] >= 0 else right[path]

        return fault

    server.fault = damaged(1)
    assert (store.fetch(store.uri("x")) / "a").read_bytes() == b"good"
    server.fault = damaged(2)
    with pytest.raises(CorruptArtifact, match="not a manifest"):
        store.manifest(store.uri("x"))


def test_an_object_that_is_gone_is_a_damaged_artifact(serve: Callable[[str], Server], tmp_path: Path) -> None:
    server = serve("new")
    store = store_on(server, tmp_path / "cache")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"good")
    manifest = store.publish(tmp_path / "d", store.uri("x"), step="s")
    del server.objects[f"/bucket/prefix/x/{manifest.files_at}/a"]
    with pytest.raises(CorruptArtifact, match="a is gone"):
        store.fetch(store.uri("x"))


@pytest.mark.parametrize("endpoint", ["minio.example.org:9000", "http://[::1", "no scheme"])
def test_an_endpoint_that_is_no_address_is_said_in_a_line(endpoint: str) -> None:
    with pytest.raises(UserError, match=r"write store\.endpoint as"):
        S3Backend(endpoint, KEYS).read("s3://bucket/x")
