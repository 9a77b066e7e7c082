"""What comes back from what is served: conversations, what was read in them, and what people say it should have been.

A place, a directory or a prefix of a bucket, of small files that never change, each published whole. Defined here:

    conversations/2026-11-27/NAME.jsonl    a dialogue a line (:mod:`selfemo.data.dialogue`): redacted, no gold
    readings/2026-11-27/NAME.jsonl         what the served policy read: :class:`Reading`
    corrections/2026-11-27/NAME.jsonl      what a person says a turn expresses: :class:`Correction`

Days are those on which a file was written, in UTC. Whoever reads sees each file or not, never half of one: writers need
no lock, and a file that is written twice is there once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Self

from selfemo import addresses
from selfemo.data.corrections import (
    COLLECTED,
    Corrected,
    Correction,
    R,
    Reading,
    collected_id,
    corrected,
    is_collected,
    last,
    line_of,
    parsed,
    plain,
)
from selfemo.data.dialogue import SCHEMA, Dialogue, parse_line
from selfemo.errors import UserError
from selfemo.store.backends import Backend, LocalBackend
from selfemo.store.s3 import S3Backend

__all__ = [
    "COLLECTED",
    "KINDS",
    "Corrected",
    "Correction",
    "Feedback",
    "FeedbackFile",
    "Kind",
    "Reading",
    "collected_id",
    "corrected",
    "is_collected",
    "last",
]

Kind = Literal["conversations", "readings", "corrections"]
KINDS: tuple[Kind, ...] = ("conversations", "readings", "corrections")
_FILE = re.compile(r"(conversations|readings|corrections)/(\d{4}-\d\d-\d\d)/([A-Za-z0-9][A-Za-z0-9._-]{0,120})\.jsonl")


@dataclass(frozen=True)
class FeedbackFile:
    """A file of the place.

    Attributes:
        uri: Where it is.
        kind: What it holds.
        day: It was written on, in UTC.
        name: Without folder and ending.
    """

    uri: str
    kind: Kind
    day: date
    name: str


@dataclass(frozen=True)
class Feedback:
    """What came back, under one address.

    Args:
        uri: ``file:///directory`` or ``s3://bucket/prefix``.
        backend: Reads and writes there.
    """

    uri: str
    backend: Backend = field(repr=False, compare=False)

    @classmethod
    def at(cls, path: str, endpoint: str | None = None, s3: Backend | None = None) -> Self:
        """The place that a setting or an option names.

        Args:
            path: A directory, ``file:///directory`` or ``s3://bucket/prefix``; `$VARIABLES` are expanded.
            endpoint: S3 endpoint, if not the provider's own.
            s3: What reads buckets, if the caller has it; then the endpoint is not looked at.

        Raises:
            UserError: If it is none.
        """
        found = os.path.expandvars(path)
        if "$" in found:
            raise UserError(f"a variable in {path!r} is not set", where="feedback", fix="export it, or write it out")
        if "://" not in found:
            found = Path(found).expanduser().absolute().as_uri()
        try:
            uri = addresses.store_root(found).rstrip("/")
            uri = uri if uri.startswith("s3://") else LocalBackend.path(uri).as_uri()  # as it lists its files
        except ValueError as error:
            raise UserError(
                str(error), where=f"feedback: {path}", fix="name a directory or s3://bucket/prefix"
            ) from None
        return cls(uri, (s3 or S3Backend(endpoint)) if uri.startswith("s3://") else LocalBackend())

    # Writing

    def add_conversations(self, rows: Sequence[Dialogue], when: datetime | None = None) -> str:
        """Publish conversations as one file.

        Args:
            rows: Redacted; :func:`collected_id` made their ids, and nobody has labelled them.
            when: They are written; now, unless it is given.

        Returns:
            Its address; empty if there is nothing to write.
        """
        for row in rows:
            assert row.split == "train" and not any(turn.gold or turn.votes for turn in row.turns), row.id
        return self._publish("conversations", [line_of({"schema": SCHEMA, **plain(row)}) for row in rows], when)

    def add_readings(self, rows: Sequence[Reading], when: datetime | None = None) -> str:
        """Publish readings as one file; as :meth:`add_conversations`."""
        return self._publish("readings", [line_of(plain(row)) for row in rows], when)

    def add_corrections(self, rows: Sequence[Correction], when: datetime | None = None) -> str:
        """Publish corrections as one file; as :meth:`add_conversations`."""
        return self._publish("corrections", [line_of(plain(row)) for row in rows], when)

    def _publish(self, kind: Kind, lines: Sequence[bytes], when: datetime | None, day: date | None = None) -> str:
        if not lines:
            return ""
        data, now = b"".join(lines), (when or datetime.now(UTC)).astimezone(UTC)
        # Named by its content: the same again, by a writer that does not know whether it was heard, is the same file.
        name = f"{kind}/{day or now.date()}/{hashlib.sha256(data).hexdigest()[:32]}.jsonl"
        self.backend.create(f"{self.uri}/{name}", data)
        return f"{self.uri}/{name}"

    # Reading

    def pieces(self, *kinds: Kind) -> list[FeedbackFile]:
        """The files there are, the newest day first; what does not bear a name of this form is nobody's here."""
        found = []
        for kind in kinds or KINDS:
            place = f"{self.uri}/{kind}/"
            for uri in self.backend.list(place):
                if match := _FILE.fullmatch(f"{kind}/{uri.removeprefix(place)}"):
                    try:
                        day = date.fromisoformat(match[2])
                    except ValueError:  # 2026-13-45
                        continue
                    found.append(FeedbackFile(uri, kind, day, match[3]))
        return sorted(found, key=lambda piece: (-piece.day.toordinal(), piece.uri))

    def conversations(self) -> Iterator[Dialogue]:
        """All conversations once each, those of the newest day first; of one that has grown, its longest of that day.

        Raises:
            UserError: For a line that is none; names file and line.
        """
        seen: set[str] = set()
        for _, pieces in groupby(self.pieces("conversations"), lambda piece: piece.day):
            found: dict[str, Dialogue] = {}
            for row in (row for piece in pieces for row in self._rows(piece, parse_line)):
                if row.id not in seen and len(row.turns) > len(found[row.id].turns if row.id in found else ()):
                    found[row.id] = row
            seen.update(found)
            yield from found.values()

    def readings(self) -> Iterator[Reading]:
        """All readings, those of the newest day first; errors as :meth:`conversations`."""
        return self._each("readings", Reading)

    def corrections(self) -> list[Correction]:
        """The corrections that count, by dialogue and turn: of each turn the last one, unless that takes back.

        Raises:
            UserError: For a line that is none; names file and line.
        """
        return last(self._each("corrections", Correction))

    def _each(self, kind: Kind, model: type[R]) -> Iterator[R]:
        for piece in self.pieces(kind):
            yield from self._rows(piece, lambda line, where: parsed(line, where, model))

    def _rows(self, piece: FeedbackFile, parse: Callable[[bytes, str], Any]) -> Iterator[Any]:
        data = self.backend.read(piece.uri)
        for number, line in enumerate((data or b"").splitlines(), 1):  # None: it went, for its age or on request
            yield parse(line, f"{piece.uri}:{number}")

    # Removing

    def expire(self, days: int, now: datetime | None = None) -> Counter[str]:
        """Remove what is older than some days: conversations, readings, and corrections of such conversations.

        Corrections of a corpus's dialogues stay, and those of a conversation that is still there.

        Args:
            days: What was written on a day before the last so many goes.
            now: The time, unless it is now.

        Returns:
            Rows that were removed, by kind.
        """
        first = (now or datetime.now(UTC)).astimezone(UTC).date() - timedelta(days=days)
        gone: Counter[str] = Counter()
        for piece in self.pieces("conversations", "readings"):
            if piece.day < first:
                gone[piece.kind] += (self.backend.read(piece.uri) or b"").count(b"\n")
                self.backend.remove(piece.uri)
        old = [piece for piece in self.pieces("corrections") if piece.day < first]
        left = {row.id for row in self.conversations()} if old else set()
        return gone + self._without(old, lambda dialogue: is_collected(dialogue) and dialogue not in left)

    def erase(self, dialogues: Collection[str]) -> Counter[str]:
        """Remove conversations with all that was read in them and said of them, as their people may ask.

        Args:
            dialogues: Their ids.

        Returns:
            Rows that were removed, by kind.
        """
        ids = frozenset(dialogues)
        return self._without(self.pieces(), lambda dialogue: dialogue in ids)

    def _without(self, pieces: Iterable[FeedbackFile], goes: Callable[[str], bool]) -> Counter[str]:
        """Write files anew without some dialogues: what stays is published first, so that nothing else gets lost."""
        gone: Counter[str] = Counter()
        for piece in pieces:
            lines = (self.backend.read(piece.uri) or b"").splitlines(keepends=True)
            stay = [line for line in lines if not goes(_dialogue_of(line, piece.kind))]
            if len(stay) < len(lines):
                self._publish(piece.kind, stay, None, piece.day)
                self.backend.remove(piece.uri)
                gone[piece.kind] += len(lines) - len(stay)
        return gone


def _dialogue_of(line: bytes, kind: Kind) -> str:
    """Whose a line is; empty of one that cannot be read, which is said when somebody wants to learn from it."""
    try:
        row = json.loads(line)
        return str(row["id" if kind == "conversations" else "dialogue"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
