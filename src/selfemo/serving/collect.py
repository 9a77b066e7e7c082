"""Conversations that clients let the server keep: sampled, redacted, written without making answers wait.

Who asks says so with each request (:data:`selfemo.serving.record.COLLECT`); nothing is kept otherwise. What is kept
goes through a bounded queue to a thread of its own, which masks it and publishes it (:mod:`selfemo.data.feedback`).
Where the queue is full or the place does not answer, conversations are dropped and counted.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector as Family

from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.feedback import Feedback, Reading, collected_id
from selfemo.data.redaction import Redactor
from selfemo.data.seeds import seed_of
from selfemo.serving.record import RequestRecord
from selfemo.serving.schema import TurnEmotions

log = logging.getLogger(__name__)

WAITING, CHARACTERS, BATCH = 1_000, 8_000_000, 200
"""Most conversations that wait to be written, most of their text, and most of one file."""
DAY, TICK = 86_400.0, 0.2
ROLES = ("User", "Assistant")
"""Names of speakers that name nobody."""


@dataclass(frozen=True)
class RetentionBounds:
    """What is kept, and for how long.

    Attributes:
        share: Of the conversations whose clients agree.
        days: After which they are removed; None leaves that to others.
        seconds: For which conversations are gathered before a file is written.
    """

    share: float = 1.0
    days: int | None = None
    seconds: float = 10.0


@dataclass(frozen=True)
class _Item:
    dialogue: str
    labels: str
    turns: Sequence[Utterance]
    readings: Sequence[Reading]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", sum(len(t.text) + len(t.speaker) for t in self.turns))


class Collector(Family):
    """Keeps conversations.

    Args:
        place: Where.
        redactor: Masks their texts.
        model: Name under which the policy is served, told with what it read.
        digest: Of its weights.
        bounds: What is kept.
    """

    def __init__(
        self, place: Feedback, redactor: Redactor, model: str, digest: str = "", bounds: RetentionBounds | None = None
    ) -> None:
        self.place, self.redactor, self.bounds = place, redactor, bounds or RetentionBounds()
        self.model, self.digest = model, digest
        self.counts = dict.fromkeys(("stored", "full", "failed", "expired"), 0)
        self._queue: queue.Queue[_Item] = queue.Queue(WAITING)
        self._held = 0
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._expired = 0.0
        self._thread = threading.Thread(target=self._run, name="collect", daemon=True)
        self._thread.start()

    # On the event loop: nothing here waits.

    def keep(
        self,
        record: RequestRecord,
        labels: str,
        turns: Sequence[Utterance],
        *,
        conversation: str = "",
        read: Sequence[TurnEmotions] = (),
    ) -> None:
        """Take a conversation, if its client agrees and it is one of the sample; the record is told its id.

        Args:
            record: Of the request.
            labels: Name of the label space.
            turns: From the conversation's first one.
            conversation: What its requests have in common, unless the client names it.
            read: What the policy read in turns of it.
        """
        if not record.consents or not turns:
            return
        if name := record.conversation or conversation:  # its later requests have the same one, with more turns
            key = hashlib.sha256(f"{record.space} {name}".encode()).hexdigest()[:24]
        else:
            key = record.answer
        dialogue = collected_id(labels, key)
        if seed_of("collect", dialogue) >= self.bounds.share * 2**63:
            return
        now = datetime.now(UTC)
        readings = [
            Reading(
                dialogue=dialogue,
                turn=row.turn,
                labels=tuple(row.emotions),
                chances=row.scores,
                model=self.model,
                digest=self.digest,
                when=now,
            )
            for row in read
        ]
        item = _Item(dialogue, labels, turns, readings)
        with self._lock:
            room = self._held + item.size <= CHARACTERS
            self._held += item.size if room else 0
        try:
            if not room:
                raise queue.Full
            self._queue.put_nowait(item)
        except queue.Full:
            self._gone([item] if room else [], "full", 1)
            return
        record.dialogue = dialogue

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See prometheus_client."""
        family = CounterMetricFamily(
            "selfemo_collected", "Conversations that clients let us keep, by what became of them.", labels=["outcome"]
        )
        for outcome, count in self.counts.items():
            family.add_metric([outcome], count)
        yield family

    def close(self, seconds: float) -> None:
        """Write what waits, for so long at most."""
        self._stopping.set()
        self._thread.join(seconds)
        if left := self._queue.qsize():
            log.warning("%d conversations were not written any more", left)

    # In a thread of its own

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._queue.empty()):
            if batch := self._gathered():
                try:
                    self._write(batch)
                    self._gone(batch, "stored")
                except Exception as error:  # whatever it is: answers go on
                    log.warning("%d conversations could not be written: %s", len(batch), type(error).__name__)
                    self._gone(batch, "failed")
            self._expire()

    def _gathered(self) -> list[_Item]:
        """What came in a while; sooner if it is much, or the server stops."""
        found: list[_Item] = []
        end = time.monotonic() + self.bounds.seconds
        while len(found) < BATCH and (left := end - time.monotonic()) > 0:
            try:
                found.append(self._queue.get(timeout=min(TICK, left)))
            except queue.Empty:
                if self._stopping.is_set():
                    break
        return found

    def _write(self, batch: Sequence[_Item]) -> None:
        longest: dict[str, _Item] = {}
        for item in batch:
            if item.dialogue not in longest or len(item.turns) > len(longest[item.dialogue].turns):
                longest[item.dialogue] = item
        self.place.add_conversations([self._masked(item) for item in longest.values()])
        self.place.add_readings([reading for item in batch for reading in item.readings])

    def _masked(self, item: _Item) -> Dialogue:
        """A conversation without what tells who somebody is; people are numbered as they come to speak."""
        people = [s for s in dict.fromkeys(t.speaker for t in item.turns) if s not in ROLES]
        shown = {name: f"Speaker {number}" for number, name in enumerate(people, 1)}
        texts = self.redactor([t.text for t in item.turns], [people] * len(item.turns)).texts
        turns = tuple(
            Utterance(speaker=shown.get(t.speaker, t.speaker), text=text)
            for t, text in zip(item.turns, texts, strict=True)
        )
        return Dialogue(id=item.dialogue, corpus=item.labels, split="train", turns=turns)

    def _gone(self, items: Sequence[_Item], outcome: str, count: int | None = None) -> None:
        with self._lock:
            self._held -= sum(item.size for item in items)
            self.counts[outcome] += len(items) if count is None else count

    def _expire(self) -> None:
        """Once a day, remove what is too old; several servers may."""
        due = not self._expired or time.monotonic() - self._expired >= DAY
        if self.bounds.days is None or not due or self._stopping.is_set():
            return
        self._expired = time.monotonic()
        try:
            self.counts["expired"] += self.place.expire(self.bounds.days)["conversations"]
        except Exception as error:
            log.warning("what is too old could not be removed: %s", type(error).__name__)
