"""The last samples that a round's filter kept, as a person reads them, fetched beside whatever else goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from selfemo.data.records import Sample, read_records
from selfemo.errors import UserError
from selfemo.shown import printable
from selfemo.store.artifacts import Store

OF_EACH = 2
"""Samples of each task that are shown."""
LONGEST = 160


@dataclass(frozen=True)
class KeptSample:
    """A sample that was kept, as text.

    Attributes:
        task: ``understanding`` or ``expression``.
        text: The turn that is to be understood, or the reply, with who says it.
        target: Labels.
        confidence: Of the posterior.
    """

    task: str
    text: str
    target: str
    confidence: float

    @classmethod
    def of(cls, sample: Sample) -> KeptSample:
        """A sample: its last turn, or its reply."""
        said = sample.reply or (sample.history[-1].text if sample.history else "")
        who = sample.role if sample.reply or not sample.history else sample.history[-1].speaker
        line = printable(" ".join(f"{who}: {said}".split()))
        return cls(sample.task, line[:LONGEST], printable(", ".join(sample.target)), sample.confidence)


class Samples:
    """Fetches samples in a thread of its own: a view does not wait for a store.

    Args:
        store: Gives the store; raises UserError where it cannot be reached from here.
    """

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self._asked = ""
        self.kept: list[KeptSample] = []
        self.why_not = ""

    def ask(self, uri: str) -> None:
        """Have the samples of a filter's artifact fetched, once."""
        if uri and uri != self._asked:
            self._asked = uri
            threading.Thread(target=self.fetch, args=(uri,), daemon=True, name="samples").start()

    def fetch(self, uri: str) -> None:
        """Fetch the last samples of an artifact, at once; what goes wrong is told in their place."""
        self._asked = uri
        try:
            rows = list(read_records(self._store().fetch(uri) / "samples.jsonl.gz", Sample))
        except Exception as error:  # a view goes on without them
            first = error.message if isinstance(error, UserError) else type(error).__name__
            self.kept, self.why_not = [], printable(first)
            return
        shown: list[Sample] = []
        for task in dict.fromkeys(row.task for row in rows):
            shown += [row for row in rows if row.task == task][-OF_EACH:]
        self.kept, self.why_not = [KeptSample.of(row) for row in shown], ""
