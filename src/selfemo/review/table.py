"""Turns to be labelled as a CSV file for a spreadsheet, and the labels back out of it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from selfemo.data.corrections import Correction
from selfemo.data.dialogue import Utterance
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.review.asked import Asked

COLUMNS = ("dialogue", "turn", "why", "history", "speaker", "text", "read", "labels")
"""What is written; ``labels`` is for the person, the other columns stay as they are."""
WANTED = ("dialogue", "turn", "labels")
"""What is read back."""
_FORMULA = re.compile(r"(^(?=[\t\r])|(?:^|[,;\t\r\n])\s*(?=[=+\-@＝＋－＠]))")
"""What begins so is computed by spreadsheets, whoever wrote it: a cell, and what they take for one whose separator is a
semicolon or a tab."""
_SEPARATORS = re.compile(r"[,;|\n]")
_LONGEST = 16_000
"""Characters of a turn that are written: enough to label it, and spreadsheets and csv take no cell of any length."""
_DIGITS = 9
"""Most of a turn's number: Python refuses to read very long ones."""


def written(turns: Iterable[Asked]) -> str:
    """A CSV file of turns, one a row, with an empty cell for their labels.

    What a spreadsheet would take for a formula begins with an apostrophe.
    """
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(COLUMNS)
    for turn in turns:
        read = ", ".join(f"{label} {chance:.0%}" for label, chance in list(turn.chances.items())[:3])
        history = "\n".join(map(line, turn.history))
        name = f"'{turn.dialogue}" if _FORMULA.match(turn.dialogue) or turn.dialogue.startswith("'") else turn.dialogue
        cells = ("; ".join(turn.why), history, turn.said.speaker[:100], turn.said.text[:_LONGEST], read)
        rows.writerow([name, turn.turn, *(_FORMULA.sub(r"\1'", cell) for cell in cells), ""])
    return out.getvalue()


def line(turn: Utterance) -> str:
    """A turn in one line."""
    return f"{turn.speaker[:100]}: {' '.join(turn.text.split())}"[:_LONGEST]


def read(
    path: Path, spaces: dict[str, LabelSpace], turns: Mapping[str, int], who: str, when: datetime
) -> list[Correction]:
    """The labels that a person gave, of rows that have some.

    Args:
        path: UTF-8, separated by commas, semicolons or tabs, as spreadsheets save it. Columns in any order, others too.
        spaces: Labels by corpus, which a dialogue's id begins with.
        turns: How many turns each dialogue has, by its id.
        who: Gave them.
        when: The time.

    Raises:
        UserError: If it is no such file, or a row names no turn or no label; names file, row and column.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(error.strerror or str(error), where=str(path), fix="give a file that can be read") from None
    except UnicodeDecodeError as error:
        fix = "save it as CSV UTF-8"
        raise UserError(f"byte {error.start} is not UTF-8", where=str(path), fix=fix) from None
    head = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    found: dict[tuple[str, int], Correction] = {}
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        if "annotation_id" in names:  # several labels of a turn are in two columns there, one of them JSON
            fix = "export the project from Label Studio as JSON or JSON-MIN"
            raise UserError("is Label Studio's CSV", where=str(path), fix=fix)
        if missing := [name for name in WANTED if names.count(name) != 1]:
            fix = f"its first row has to name the columns {', '.join(WANTED)}, as `selfemo review export` writes them"
            raise UserError(f"no column {missing[0]!r}, or two", where=f"{path}: row 1", fix=fix)
        for number, cells in enumerate(rows, 2):
            if not any(cells):
                continue
            if len(cells) != len(names):
                fix = "give each row as many cells as the first"
                raise UserError(f"{len(cells)} cells under {len(names)} names", where=f"{path}: row {number}", fix=fix)
            row = dict(zip(names, cells, strict=True))
            if row["labels"].strip():
                add(found, _correction(row, f"{path}: row {number}", spaces, turns, who, when), f"{path}: row {number}")
    except csv.Error as error:
        fix = "close the quotes, or save it as CSV again"
        raise UserError(str(error), where=f"{path}: line {rows.line_num}", fix=fix) from None
    return list(found.values())


def add(found: dict[tuple[str, int], Correction], row: Correction, where: str) -> None:
    """Take a row, unless an earlier one says something else of its turn.

    Raises:
        UserError: If one does.
    """
    before = found.setdefault((row.dialogue, row.turn), row)
    if before.labels != row.labels:
        said = f"turn {row.turn} of {row.dialogue!r} was {', '.join(before.labels)} above"
        raise UserError(said, where=f"{where}: labels", fix="leave one of the two rows, or make them the same")


def _correction(
    row: dict[str, str],
    where: str,
    spaces: dict[str, LabelSpace],
    turns: Mapping[str, int],
    who: str,
    when: datetime,
) -> Correction:
    dialogue = row["dialogue"].strip().removeprefix("'")
    turn = row["turn"].strip()
    if not turn.isdecimal() or len(turn) > _DIGITS:
        raise UserError(
            f"{turn[:20]!r} is no turn", where=f"{where}: turn", fix="leave the columns as they were exported"
        )
    labels = given(
        [name for name in _SEPARATORS.split(row["labels"].removeprefix("'")) if name.strip()], dialogue, spaces, where
    )
    known(dialogue, int(turn), turns, where)
    return Correction(dialogue=dialogue, turn=int(turn), labels=labels, who=who, when=when, source="review")


def known(dialogue: str, turn: int, turns: Mapping[str, int], where: str) -> None:
    """Refuse what was never said, or is erased by now.

    Args:
        dialogue: Its id.
        turn: Which, counted from 0.
        turns: How many turns each dialogue has, by its id.
        where: For errors.

    Raises:
        UserError: If there is no such dialogue or turn.
    """
    fix = "give the place and configuration of the export; if it was erased since, empty its labels"
    if dialogue not in turns:
        raise UserError(f"there is no dialogue {dialogue!r}", where=f"{where}: dialogue", fix=fix)
    if turn >= turns[dialogue]:
        raise UserError(f"{dialogue!r} has no turn {turn}", where=f"{where}: turn", fix=fix)


def given(names: Sequence[str], dialogue: str, spaces: dict[str, LabelSpace], where: str) -> tuple[str, ...]:
    """Labels that a person names, as the dialogue's space spells them.

    Args:
        names: By any of their spellings.
        dialogue: Its id.
        spaces: Labels by corpus.
        where: For errors.

    Raises:
        UserError: If the space is not known, or has no such label.
    """
    space = spaces.get(dialogue.split("/")[0])
    if space is None:
        fix = f"give the configuration that has its labels; known here: {', '.join(spaces)}"
        raise UserError(f"{dialogue!r} is of no corpus that is known", where=f"{where}: dialogue", fix=fix)
    found = [(name.strip(), space.lookup(name.strip())) for name in names]
    if wrong := [name for name, label in found if label is None]:
        fix = f"use {', '.join(space.labels)}; several are parted by commas"
        raise UserError(f"{wrong[0]!r} is not a label of {space.name}", where=f"{where}: labels", fix=fix)
    return tuple(dict.fromkeys(label for _, label in found if label))
