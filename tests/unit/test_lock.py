"""The lock of promotions: one holder at a time, and none for ever. On S3: tests/integration/test_servers.py."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from selfemo.store import lock
from selfemo.store.backends import LocalBackend
from selfemo.store.lock import Busy, Lost, held
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


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Empty: locks were written just now. Not empty: long ago, by the store's clock."""
    written: list[bool] = []
    age = LocalBackend.age
    monkeypatch.setattr(LocalBackend, "age", lambda self, uri: 1e6 if written else age(self, uri))
    return written


def test_a_holder_that_was_killed_is_replaced_when_its_time_is_up(uri: str, old: list[bool]) -> None:
    first = held(LocalBackend(), uri)
    first.__enter__()
    with pytest.raises(Busy, match=r"in [0-9]+ s if they were killed"), held(LocalBackend(), uri):
        pass
    old.append(True)
    with held(LocalBackend(), uri) as lease:
        assert json.loads(LocalBackend().read(uri) or b"")["token"] == lease.token


def test_a_holder_that_was_replaced_finds_out_and_cannot_free_what_is_not_its(uri: str, old: list[bool]) -> None:
    with held(LocalBackend(), uri) as first:
        first.renew()
        old.append(True)
        second = held(LocalBackend(), uri)
        lease = second.__enter__()
        with pytest.raises(Lost, match="somebody else has it now"):
            first.renew()
    assert json.loads(LocalBackend().read(uri) or b"")["token"] == lease.token
    lease.renew()
    second.__exit__(None, None, None)
    with pytest.raises(Lost):
        lease.renew()


def test_who_renews_begins_anew_also_for_one_that_is_just_about_to_take_over(uri: str, old: list[bool]) -> None:
    old.append(True)
    with held(LocalBackend(), uri) as first:
        swap = LocalBackend.swap

        class Late(LocalBackend):
            """Takes over what it read before the holder renewed."""

            def swap(self, uri: str, found: bytes, mine: bytes) -> bool:
                first.renew()
                return swap(self, uri, found, mine)

        with pytest.raises(Busy), held(Late(), uri):
            pass
        first.renew()


def test_no_holders_clock_counts(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days ahead or behind, a holder keeps the lock for as long as any other."""
    for wrong in (-86_400.0, 86_400.0):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
        with held(LocalBackend(), uri), pytest.raises(Busy), held(LocalBackend(), uri):
            pass


@pytest.mark.parametrize(
    "contents",
    [b"not json", b"", b"[]", b"{}", b"[" * 5000, b"\xff", b'{"owner": "", "token": ""}', b'{"owner": 1' + b"0" * 5000],
)
def test_a_damaged_file_is_a_free_lock(uri: str, contents: bytes) -> None:
    LocalBackend().create(uri, contents)
    with held(LocalBackend(), uri) as lease:
        lease.renew()


@pytest.mark.parametrize("until", ["Infinity", "1" + "0" * 400, "NaN", "-1"])
def test_a_lock_of_an_older_release_is_judged_by_its_age_alone(uri: str, until: str, old: list[bool]) -> None:
    LocalBackend().create(uri, f'{{"owner": "ada", "token": "t", "until": {until}}}'.encode())
    with pytest.raises(Busy, match="held by ada"), held(LocalBackend(), uri):
        pass
    old.append(True)
    with held(LocalBackend(), uri):
        pass


def test_an_error_inside_gives_it_back(uri: str) -> None:
    with pytest.raises(RuntimeError), held(LocalBackend(), uri):
        raise RuntimeError
    with held(LocalBackend(), uri):
        pass


def test_actors_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SELFEMO_ACTOR", raising=False)
    monkeypatch.setenv("KFP_POD_NAME", "decide-7")
    assert lock.who() == "decide-7"
    monkeypatch.delenv("KFP_POD_NAME")
    assert "@" in lock.who()
