"""The lock of promotions: one holder at a time, and none for ever. On S3: tests/integration/test_servers.py."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from selfemo.store import lock
from selfemo.store.backends import LocalBackend
from selfemo.store.lock import Busy, held
from tests.conftest import race


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return (tmp_path / "locks" / "promotion").as_uri()


def test_one_holds_it_and_the_other_is_told_who(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFEMO_ACTOR", "ada")
    with held(LocalBackend(), uri):
        with pytest.raises(Busy, match="held by ada") as raised, held(LocalBackend(), uri):
            pass
        assert "if they were killed" in str(raised.value)
    with held(LocalBackend(), uri):  # given back, it is free at once
        pass


def test_of_many_at_once_each_has_it_alone(uri: str) -> None:
    inside: list[int] = []
    most: list[int] = []
    guard = threading.Lock()

    def work(i: int) -> None:
        with held(LocalBackend(), uri, wait=30):
            with guard:
                inside.append(i)
                most.append(len(inside))
            time.sleep(0.01)
            with guard:
                inside.remove(i)

    race(6, work)
    assert len(most) == 6
    assert max(most) == 1


def test_a_holder_that_was_killed_is_replaced_when_its_time_is_up_and_cannot_free_what_is_not_its(uri: str) -> None:
    with held(LocalBackend(), uri, seconds=0.05):
        time.sleep(0.1)
        with held(LocalBackend(), uri) as token:
            now = json.loads(LocalBackend().read(uri) or b"")
            assert now["token"] == token
    # the first holder's leaving did not touch the second's, which was over first here; a third one stays whole
    with held(LocalBackend(), uri, seconds=0.05):
        time.sleep(0.1)
        after = held(LocalBackend(), uri)
        third = after.__enter__()
    assert json.loads(LocalBackend().read(uri) or b"")["token"] == third
    after.__exit__(None, None, None)


def test_an_error_inside_gives_it_back(uri: str) -> None:
    with pytest.raises(RuntimeError), held(LocalBackend(), uri):
        raise RuntimeError
    with held(LocalBackend(), uri):
        pass


def test_a_damaged_file_is_a_free_lock(uri: str) -> None:
    LocalBackend().create(uri, b"not json")
    with held(LocalBackend(), uri):
        pass


def test_actors_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SELFEMO_ACTOR", raising=False)
    monkeypatch.setenv("KFP_POD_NAME", "decide-7")
    assert lock.who() == "decide-7"
    monkeypatch.delenv("KFP_POD_NAME")
    assert "@" in lock.who()
