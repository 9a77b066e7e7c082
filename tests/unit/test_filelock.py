"""Waiting for another process of this machine: it is said for what and for whom, and it has an end."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from selfemo.errors import UserError
from selfemo.store import filelock
from selfemo.store.filelock import locked, take


def test_who_waits_is_told_for_whom_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filelock, "_QUIET", 0.0)
    file = tmp_path / "lock"
    with locked(file, "fetching x", 1), caplog.at_level(logging.INFO, "selfemo"):
        said = rf"another process \({os.getpid()}\) has been fetching x"
        with pytest.raises(UserError, match=said) as raised, locked(file, "fetching x", 0.1):
            pass
        assert raised.value.where == str(file)
        assert caplog.messages == [f"waiting: another process ({os.getpid()}) is fetching x"]
    with locked(file, "fetching x", 0):  # given back, it is free at once
        pass


def test_those_who_share_it_do_not_wait_for_each_other(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with file.open("a+") as first, file.open("a+") as second, file.open("a+") as third:
        take(first, "reading", 0, shared=True)
        take(second, "reading", 0, shared=True)
        with pytest.raises(UserError, match="has been reading"):
            take(third, "reading", 0)


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(UserError, match="no locks here: No locks available"), locked(tmp_path / "lock", "x", 1):
        pass
