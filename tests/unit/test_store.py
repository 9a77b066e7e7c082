"""The store, as a specification; the same holds on S3 (tests/integration/test_servers.py)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfemo.errors import CorruptArtifact, UserError
from selfemo.store import artifacts
from selfemo.store.artifacts import File, Manifest, Store
from selfemo.store.backends import LocalBackend
from tests.conftest import race


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "root").as_uri(), tmp_path / "cache")


def _directory(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    path.mkdir(parents=True, exist_ok=True)
    return path


names = st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5})?", fullmatch=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(files=st.dictionaries(names, st.binary(max_size=64), max_size=5))
def test_what_is_fetched_is_what_was_published(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = {n: d for n, d in files.items() if not any(o != n and o.startswith(n + "/") for o in files)}
    base = tmp_path_factory.mktemp("store")
    store = Store((base / "root").as_uri(), base / "cache")
    manifest = store.publish(_directory(base / "d", files), store.uri("a"), step="s", inputs={"x": 1})
    assert store.manifest(store.uri("a")) == manifest
    fetched = store.fetch(store.uri("a"))
    assert {p.relative_to(fetched).as_posix(): p.read_bytes() for p in fetched.rglob("*") if p.is_file()} == files


def test_nothing_is_there_until_the_manifest_is(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = _directory(tmp_path / "d", {"a": b"1", "b": b"2"})

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBackend, "create", killed)
    with pytest.raises(KeyboardInterrupt):
        store.publish(directory, store.uri("x"), step="s")
    monkeypatch.undo()
    assert store.manifest(store.uri("x")) is None
    with pytest.raises(UserError, match="nothing is published here"):
        store.fetch(store.uri("x"))
    store.publish(directory, store.uri("x"), step="s")
    assert (store.fetch(store.uri("x")) / "a").read_bytes() == b"1"


def test_of_many_writers_one_wins_and_all_see_the_winner(store: Store, tmp_path: Path) -> None:
    results: list[Manifest] = []

    def write(i: int) -> None:
        directory = _directory(tmp_path / f"d{i}", {"a": str(i).encode()})
        results.append(store.publish(directory, store.uri("race"), step="s"))

    race(8, write)
    assert len({m.files_at for m in results}) == 1
    files = [u for u in store.backend(store.root).list(store.uri("race")) if not u.endswith("manifest.json")]
    assert len(files) == 1  # losers clean up after themselves


def test_changed_bytes_are_found_and_not_handed_out(store: Store, tmp_path: Path) -> None:
    manifest = store.publish(_directory(tmp_path / "d", {"a": b"good"}), store.uri("x"), step="s")
    LocalBackend.path(f"{store.uri('x')}/{manifest.files_at}/a").write_bytes(b"evil")
    with pytest.raises(CorruptArtifact, match="a differs from its manifest"):
        store.fetch(store.uri("x"))


def test_one_file_is_read_without_the_others_and_checked(store: Store, tmp_path: Path) -> None:
    uri = store.uri("x")
    made = store.publish(_directory(tmp_path / "d", {"a": b"small", "w": b"large"}), uri, step="s")
    assert store.read(uri, made, "a") == b"small"
    assert not (tmp_path / "cache").exists()
    LocalBackend.path(f"{uri}/{made.files_at}/a").write_bytes(b"other")
    with pytest.raises(CorruptArtifact, match="a differs from its manifest"):
        store.read(uri, made, "a")


def test_a_damaged_cache_is_fetched_again(store: Store, tmp_path: Path) -> None:
    store.publish(_directory(tmp_path / "d", {"a": b"good"}), store.uri("x"), step="s")
    (store.fetch(store.uri("x")) / "a").write_bytes(b"evil")
    assert (store.fetch(store.uri("x")) / "a").read_bytes() == b"good"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were hashed, in order."""
    names: list[str] = []
    sha256 = artifacts.sha256

    def counted(path: Path) -> str:
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(artifacts, "sha256", counted)
    return names


def test_files_are_hashed_when_they_come_here_and_not_again(store: Store, tmp_path: Path, hashed: list[str]) -> None:
    store.publish(_directory(tmp_path / "d", {"a": b"1", "b/c": b"2"}), store.uri("x"), step="s")
    hashed.clear()
    first = store.fetch(store.uri("x"))
    assert hashed == ["a", "c"]
    assert store.fetch(store.uri("x")) == first
    assert Store(store.root, store.cache).fetch(store.uri("x")) == first  # as another process sees it
    assert hashed == ["a", "c"]


def _overwritten(file: Path) -> None:
    file.write_bytes(b"evil")  # as long as what was there, and at once


def _replaced(file: Path) -> None:
    before = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"evil")
    os.utime(other, ns=(before.st_mtime_ns, before.st_mtime_ns))
    other.rename(file)


def _cut(file: Path) -> None:
    before = file.stat()
    os.truncate(file, 1)
    os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [_overwritten, _replaced, _cut, Path.unlink])
def test_a_file_that_changes_after_it_was_verified_is_noticed_and_fetched_again(
    store: Store, tmp_path: Path, hashed: list[str], change: Callable[[Path], None]
) -> None:
    store.publish(_directory(tmp_path / "d", {"a": b"good"}), store.uri("x"), step="s")
    change(store.fetch(store.uri("x")) / "a")
    assert (store.fetch(store.uri("x")) / "a").read_bytes() == b"good"
    hashed.clear()
    assert (store.fetch(store.uri("x")) / "a").read_bytes() == b"good"
    assert hashed == []


def test_a_file_that_was_only_touched_is_checked_again_and_kept(
    store: Store, tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(_directory(tmp_path / "d", {"a": b"good"}), store.uri("x"), step="s")
    (store.fetch(store.uri("x")) / "a").touch()
    hashed.clear()
    monkeypatch.delattr(LocalBackend, "download")
    store.fetch(store.uri("x"))
    store.fetch(store.uri("x"))
    assert hashed == ["a"]


def test_a_file_that_changes_while_it_is_hashed_is_noticed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(_directory(tmp_path / "d", {"a": b"good"}), store.uri("x"), step="s")
    sha256 = artifacts.sha256

    def disturbed(path: Path) -> str:
        found = sha256(path)
        path.write_bytes(b"evil")
        return found

    monkeypatch.setattr(artifacts, "sha256", disturbed)
    store.fetch(store.uri("x"))
    monkeypatch.undo()
    assert (store.fetch(store.uri("x")) / "a").read_bytes() == b"good"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"digest": 1}',
        '{"digest": "DIGEST", "files": {}}',
        '{"digest": "DIGEST", "files": {"b": [1, 2, 3]}}',
    ],
)
def test_a_mark_that_cannot_be_read_or_names_other_files_vouches_for_nothing(
    store: Store, tmp_path: Path, hashed: list[str], text: str
) -> None:
    manifest = store.publish(_directory(tmp_path / "d", {"a": b"good"}), store.uri("x"), step="s")
    store.fetch(store.uri("x"))
    (mark,) = store.cache.glob(".*.verified")
    mark.write_text(text.replace("DIGEST", manifest.digest))
    hashed.clear()
    assert (store.fetch(store.uri("x")) / "a").read_bytes() == b"good"
    assert hashed == ["a"]


def test_a_manifest_that_was_read_is_not_read_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = store.publish(_directory(tmp_path / "d", {"a": b"good"}), store.uri("x"), step="s")
    monkeypatch.delattr(LocalBackend, "read")
    assert (store.fetch(store.uri("x"), manifest) / "a").read_bytes() == b"good"


def test_equal_contents_have_equal_digests_wherever_they_lie(store: Store, tmp_path: Path) -> None:
    directory = _directory(tmp_path / "d", {"a": b"1", "b/c": b"2"})
    first = store.publish(directory, store.uri("x"), step="s")
    second = store.publish(directory, store.uri("y"), step="other")
    assert first.digest == second.digest
    assert first.files_at != second.files_at


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"files": {}}',
        json.dumps({"step": "s", "files": {"../a": {"size": 1, "sha256": "0"}}, "files_at": "x"}),
        json.dumps({"step": "s", "files": {}, "files_at": "/etc"}),
    ],
)
def test_a_manifest_is_not_trusted(text: str) -> None:
    with pytest.raises(CorruptArtifact):
        Manifest.from_json(text.encode(), "there")


def test_a_manifest_round_trips() -> None:
    manifest = Manifest("s", {"a": File(1, "0" * 64)}, "files-1", {"i": "j"}, "c", "v", {"r": 1.5})
    assert Manifest.from_json(manifest.to_json(), "here") == manifest


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot store at"):
        Store("ftp://host/x", tmp_path).manifest("ftp://host/x/y")


def test_files_can_be_listed_and_removed(store: Store, tmp_path: Path) -> None:
    store.publish(_directory(tmp_path / "d", {"a": b"1"}), store.uri("x"), step="s")
    backend = store.backend(store.root)
    assert len(list(backend.list(store.uri("x")))) == 2
    backend.remove_tree(store.uri("x"))
    assert list(backend.list(store.uri("x"))) == []
