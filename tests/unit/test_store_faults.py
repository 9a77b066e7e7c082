"""A store whose writers are killed, whose disk fills up, or whose file system knows too little."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from selfemo.errors import UserError
from selfemo.store.artifacts import Manifest, Store
from selfemo.store.backends import LocalBackend
from tests.unit.test_store import _directory


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "root").as_uri(), tmp_path / "cache")


def test_what_a_killed_attempt_has_uploaded_goes_when_the_next_one_publishes(store: Store, tmp_path: Path) -> None:
    (tmp_path / "half").write_bytes(b"half")
    store.backend(store.root).upload(tmp_path / "half", f"{store.uri('x')}/files-killed/a")
    manifest = store.publish(_directory(tmp_path / "d", {"a": b"1"}), store.uri("x"), step="s")
    left = {u.removeprefix(store.uri("x") + "/") for u in store.backend(store.root).list(store.uri("x"))}
    assert left == {"manifest.json", f"{manifest.files_at}/a"}


def test_an_attempt_that_fails_leaves_nothing_and_one_that_is_swept_adopts_the_winner(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, upload = _directory(tmp_path / "d", {"a": b"1", "b": b"2"}), LocalBackend.upload

    def full(self: LocalBackend, path: Path, uri: str) -> None:
        if path.name == "b":
            raise OSError(28, "No space left on device", str(path))
        upload(self, path, uri)

    monkeypatch.setattr(LocalBackend, "upload", full)
    with pytest.raises(OSError, match="No space left"):
        store.publish(directory, store.uri("x"), step="s")
    assert list(store.backend(store.root).list(store.root)) == []

    def overtaken(self: LocalBackend, path: Path, uri: str) -> None:
        monkeypatch.setattr(LocalBackend, "upload", upload)
        won.append(store.publish(directory, store.uri("x"), step="s"))
        raise FileNotFoundError(uri)  # the winner has swept it

    won: list[Manifest] = []
    monkeypatch.setattr(LocalBackend, "upload", overtaken)
    assert store.publish(directory, store.uri("x"), step="s") == won[0]


def test_a_disk_that_fills_up_under_a_small_file_leaves_no_part_of_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.backend(store.root).create(store.uri("locks", "a"), b"1")
    assert list(LocalBackend.path(store.uri("locks")).iterdir()) == []


def test_a_file_system_without_hard_links_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with pytest.raises(UserError, match="knows no hard links"):
        store.backend(store.root).create(store.uri("locks", "a"), b"1")
