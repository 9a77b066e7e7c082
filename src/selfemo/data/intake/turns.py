"""Rows become turns: what each column says of one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfemo.data.intake.cells import key_of, labels_of, numbers, order_of, text_of, votes_of
from selfemo.data.intake.columns import FILE, ROW, Columns, listed, plain
from selfemo.data.intake.files import split_named
from selfemo.data.intake.naming import Naming
from selfemo.data.intake.refusals import Refusals

_NO_TURNS = ("system", "developer", "tool", "function")
"""Roles of a chat's messages that nobody says."""
_CUT = re.compile(r"[1-9](?:[.,]\d{1,5})?E\+\d{2,3}")
"""What Excel makes of a long number: other ids may have become the same."""
_MILLISECONDS = 1e11
"""A time beyond this is counted in milliseconds: in seconds it would be of the year 5138."""


@dataclass(frozen=True)
class TurnRow:
    """A row as a turn, before it has its place in a dialogue.

    Attributes:
        key: Of its dialogue.
        order: Its place there, if a column states it.
        labels: That the row names; None if it has none.
    """

    key: tuple[str, ...]
    order: float | None
    speaker: str
    text: str
    labels: list[str] | None
    votes: dict[str, float] | None
    rater: str
    split: str
    group: str
    row: int


def exploded(row: Mapping[str, Any], columns: Columns) -> Iterator[dict[str, Any]]:
    """The turns of a row that lists them, each with what its row has besides; or the row itself.

    Lists that are as long as that of the turns, such as an emotion for each, are dealt out with them.
    """
    if not columns.turns:
        yield dict(row)
        return
    turns = listed(row.get(columns.turns)) or []
    shared = {k: v for k, v in row.items() if k != columns.turns}
    parallel = {k for k, v in shared.items() if isinstance(v, list) and len(v) == len(turns)}
    for index, turn in enumerate(turns):
        flat = {k: v[index] if k in parallel else v for k, v in shared.items()}
        yield flat | (turn if isinstance(turn, dict) else {columns.turns: turn}) | {"@turn": index}


def inherited(row: Mapping[str, Any], columns: Columns) -> frozenset[str]:
    """The columns that a turn has of its dialogue: those of the row, but for lists that are dealt out."""
    if not columns.turns:
        return frozenset(name for name in row if name.startswith(("conversation.", "speaker.")))
    turns = listed(row.get(columns.turns)) or []
    own = {name for turn in turns if isinstance(turn, dict) for name in turn}
    dealt = {name for name, value in row.items() if isinstance(value, list) and len(value) == len(turns)}
    return frozenset(set(row) - own - dealt - {columns.turns})


class TurnReader:
    """Makes turns of the rows of one source.

    Args:
        path: Its file.
        columns: What its columns mean.
        naming: What labels are called.
        refusals: Called with each bad row.
        name: What dialogues without an id are called by: the file, where it is one of several.
        gap: Seconds of silence after which a chat without ids is another dialogue; None: never.
    """

    def __init__(
        self, path: Path, columns: Columns, naming: Naming, refusals: Refusals, name: str = "", gap: float | None = None
    ) -> None:
        self.path, self.columns, self.naming, self.refuse = path, columns, naming, refusals
        self.name, self.gap, self.part, self._said_at = name, gap, 1, -math.inf
        self.chat = plain(columns.speaker) in ("role", "authorrole", "from" if columns.turns else "")

    def turns(self, number: int, row: Mapping[str, Any]) -> Iterator[TurnRow]:
        """The turns of a row; a bad one is reported."""
        yield from (turn for _, turn in self.placed(number, row))

    def placed(self, number: int, row: Mapping[str, Any]) -> Iterator[tuple[int, TurnRow]]:
        """The same, each with its place among all that the row lists, from 0."""
        if self.columns.turns and listed(row.get(self.columns.turns)) is None:
            self.refuse(self.path, number, self.columns.turns, "no list of turns")
            return
        for place, flat in enumerate(exploded(row, self.columns)):
            turn = self._turn(number, flat)
            if turn is not None:
                yield place, turn

    def _turn(self, number: int, row: Mapping[str, Any]) -> TurnRow | None:
        columns = self.columns
        if columns.text not in row:
            self.refuse(self.path, number, columns.text, "no such column in this row")
            return None
        for name in (columns.text, columns.speaker):
            if name and isinstance(row.get(name), dict):
                self.refuse(self.path, number, name, "an object, where text should be")
                return None
        speaker = text_of(row.get(columns.speaker)).strip() if columns.speaker else ""
        if self.chat and speaker.lower() in _NO_TURNS:
            self.refuse.passed_over(f"{speaker.lower()} messages")
            return None
        ordering = columns.turn or columns.time
        order = row.get(ordering or "@turn")
        place = order_of(order) if order not in (None, "") else None
        key = self._key(number, row, place)
        # A time may be missing; one that cannot be read would leave its turn where another belongs.
        unread = place is None and (columns.turn or (columns.time and order not in (None, "")))
        if key is None or unread:
            if key is not None:
                said = f"{text_of(order)[:40]!r} is no number and no time as ISO 8601 writes it (2026-10-04T10:05)"
                self.refuse(self.path, number, ordering, said)
            return None
        split = ""
        if columns.split:
            split = split_named(text_of(row.get(columns.split))) or ""
            if not split:
                named = text_of(row.get(columns.split))[:40]
                self.refuse(self.path, number, columns.split, f"{named!r} is none of train, dev and test")
                return None
        try:
            labels, votes = self._labels(row), self._votes(row)
        except ValueError as error:
            column = (*columns.label, *columns.votes)[0]
            self.refuse(self.path, number, column, str(error))
            return None
        text = text_of(row[columns.text])
        if columns.comma:
            text = text.replace(columns.comma, ",")
        rater = key_of(row.get(columns.rater)) if columns.rater else ""
        group = key_of(row.get(columns.group)) if columns.group else ""
        return TurnRow(key, place, speaker, text, labels, votes, rater, split, group, number)

    def _key(self, number: int, row: Mapping[str, Any], place: float | None) -> tuple[str, ...] | None:
        if self.columns.dialogue == (ROW,):
            return (self.name, str(number)) if self.name else (str(number),)
        if self.columns.dialogue == (FILE,):
            if self.gap is not None and place is not None:
                seconds = place / 1000 if place > _MILLISECONDS else place
                self.part += 0 < self.gap < seconds - self._said_at < math.inf
                self._said_at = seconds
            return (self.name or self.path.stem, str(self.part))
        key = []
        for name in self.columns.dialogue:
            value = row.get(name)
            found = key_of(value) if not isinstance(value, dict | list) else ""
            if not found:
                self.refuse(self.path, number, name, "no id of a dialogue")
                return None
            if _CUT.fullmatch(found):
                self.refuse(self.path, number, name, f"{found}: a spreadsheet has cut this id; format it as text there")
                return None
            key.append(found)
        return tuple(key)

    def _labels(self, row: Mapping[str, Any]) -> list[str] | None:
        columns = self.columns.label
        if not columns:
            return None
        if len(columns) > 1:
            found = numbers({name: row.get(name) for name in columns}) or {}
            names = [name.rsplit(".", 1)[-1] for name in found]
        else:
            names = labels_of(row.get(columns[0]))
        return [self.naming.name(name) for name in names] or None

    def _votes(self, row: Mapping[str, Any]) -> dict[str, float] | None:
        columns = self.columns.votes
        if not columns:
            return None
        found = votes_of(row.get(columns[0])) if len(columns) == 1 else numbers({n: row.get(n) for n in columns})
        votes: dict[str, float] = {}
        for name, share in (found or {}).items():
            label = self.naming.name(name)
            votes[label] = votes.get(label, 0.0) + share
        return votes or None
