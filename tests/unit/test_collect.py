"""Keeping conversations beside the answers: what is drawn, what waits, and what is dropped."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.feedback import Feedback
from selfemo.data.redaction import Masked
from selfemo.serving import collect
from selfemo.serving.collect import Collector, RetentionBounds
from selfemo.serving.record import RequestRecord

SECONDS = 60


def as_it_is(texts: Sequence[str], names: Sequence[Collection[str]] = ()) -> Masked:
    """Masks nothing."""
    return Masked(list(texts), Counter())


def said(count: int = 1) -> list[Utterance]:
    return [Utterance(speaker="User", text=f"Turn {n}.") for n in range(count)]


def record(name: str = "", space: str = "") -> RequestRecord:
    return RequestRecord("id", space=space, consents=True, conversation=name)


@pytest.fixture
def place(tmp_path: Path) -> Feedback:
    return Feedback.at(str(tmp_path / "came back"))


def test_a_conversation_is_drawn_as_a_whole_and_about_the_share(place: Feedback) -> None:
    collector = Collector(place, as_it_is, "m", bounds=RetentionBounds(share=0.3, seconds=0.01))
    drawn = []
    for n in range(300):
        rows = [record(f"talk {n}") for _ in range(3)]
        for length, row in enumerate(rows, 1):
            collector.keep(row, "sample", said(length))
        assert len({row.dialogue for row in rows}) == 1
        drawn.append(bool(rows[0].dialogue))
    collector.close(SECONDS)
    assert sum(drawn) == pytest.approx(90, abs=40)
    kept = list(place.conversations())
    assert len(kept) == sum(drawn) and all(len(d.turns) == 3 for d in kept)


def test_a_name_counts_with_its_key(place: Feedback) -> None:
    collector = Collector(place, as_it_is, "m", bounds=RetentionBounds(seconds=0.01))
    rows = [record("mine", "one"), record("mine", "two"), record(), record()]
    for row in rows:
        collector.keep(row, "sample", said())
    collector.close(SECONDS)
    assert {d.id for d in place.conversations()} == {row.dialogue for row in rows} and len(set(map(id, rows))) == 4
    assert len({row.dialogue for row in rows}) == 4


class Stuck(Feedback):
    """A place that does not answer until it is told to."""

    free = threading.Event()
    asked = threading.Event()

    def add_conversations(self, rows: Sequence[Dialogue], when: datetime | None = None) -> str:
        self.asked.set()
        assert self.free.wait(SECONDS)
        return super().add_conversations(rows, when)


@pytest.mark.parametrize("bound", ["WAITING", "CHARACTERS"])
def test_nobody_waits_for_a_place_that_does_not_answer(
    place: Feedback, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, bound, 8 if bound == "WAITING" else 8 * len("UserTurn 0."))
    monkeypatch.setattr(collect, "BATCH", 1)
    stuck = Stuck(place.uri, place.backend)
    stuck.free.clear()
    stuck.asked.clear()
    collector = Collector(stuck, as_it_is, "m", bounds=RetentionBounds(seconds=0.01))
    rows = [record() for _ in range(21)]
    collector.keep(rows[0], "sample", said())
    assert stuck.asked.wait(SECONDS)  # the first is being written
    for row in rows[1:]:
        collector.keep(row, "sample", said())
    kept = [row.dialogue for row in rows if row.dialogue]
    assert len(kept) == (9 if bound == "WAITING" else 8)  # that which is being written holds its text still
    assert collector.counts["full"] == 21 - len(kept)
    stuck.free.set()
    collector.close(SECONDS)
    assert {d.id for d in place.conversations()} == set(kept)  # all that was promised
    assert collector.counts["stored"] == len(kept)


def test_what_cannot_be_masked_is_not_written(place: Feedback) -> None:
    def broken(texts: Sequence[str], names: Sequence[Collection[str]] = ()) -> Masked:
        raise RuntimeError("broken")

    collector = Collector(place, broken, "m", bounds=RetentionBounds(seconds=0.01))
    collector.keep(record(), "sample", said())
    collector.close(SECONDS)
    assert collector.counts["failed"] == 1 and not place.pieces()


def test_what_is_too_old_goes(place: Feedback, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()
    old = Dialogue(id="sample/collected/old", corpus="sample", split="train", turns=tuple(said()))
    place.add_conversations([old], datetime.now(UTC) - timedelta(days=40))

    class Told(Feedback):
        def expire(self, days: int, now: datetime | None = None) -> Counter[str]:
            try:
                return super().expire(days, now)
            finally:
                gone.set()

    collector = Collector(Told(place.uri, place.backend), as_it_is, "m", bounds=RetentionBounds(days=30, seconds=0.01))
    assert gone.wait(SECONDS)
    collector.close(SECONDS)
    assert not place.pieces() and collector.counts["expired"] == 1
