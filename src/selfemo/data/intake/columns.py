"""What the columns of a source mean: known from its layout, guessed from names and values, or stated by flags."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from selfemo.data.intake.cells import labels_of, order_of, text_of
from selfemo.data.intake.files import split_named

ROLES = ("text", "speaker", "dialogue", "turn", "time", "label", "votes", "rater", "split", "group")
ROW, FILE = "@row", "@file"
"""In place of a column of dialogue ids: each row is a dialogue, each file is one."""
NONE = "@none"
"""In place of any column: there is none, whatever the names look like."""

_KNOWN: dict[str, frozenset[str]] = {
    role: frozenset(names.split())
    for role, names in {
        "text": "text utterance message content sentence transcript body value said comment messagetext utterancetext",
        "speaker": "speaker speakeridx speakerid speakername role author authorrole from sender user username "
        "character participant who name",
        "dialogue": "dialogueid dialogid dialogue dialog conversationid conversation convid conv threadid thread "
        "session sessionid chatid sceneid call callid case caseid ticket ticketid ticketnumber",
        "turn": "turn turnid turnidx turnindex turnnumber turnno utteranceid utteranceidx utteranceindex uttid "
        "uttidx messageindex position sequence seq",
        "time": "time timestamp createdat created created date datetime sentat createtime createdutc",
        "label": "label labels emotion emotions emotionlabel gold feeling mood emotiontype emotionlabels",
        "votes": "votes labelvotes emotionvotes annotatorvotes votecounts softlabel softlabels distribution",
        "rater": "rater raterid annotator annotatorid workerid worker coder coderid",
        "split": "split partition subset fold",
        "id": "id exampleid commentid textid rowid",
    }.items()
}
_TURNS = ("messages", "dialog", "dialogue", "turns", "conversation", "conversations", "utterances", "chat", "thread")
LEAST_INDICATORS = 3
"""Columns of noughts and ones from which on they are taken for a label each."""


@dataclass(frozen=True)
class Columns:
    """Which column has what. A role without a column is empty.

    Attributes:
        layout: The known layout, if it is one.
        turns: The column that lists a dialogue's turns; the others are then those of a turn, with its row's beside.
        text, speaker, turn, time, rater, split, group: Names of columns.
        dialogue: That together identify a dialogue; or :data:`ROW` or :data:`FILE`.
        label: One column of labels, or several of noughts and ones, each named as its label.
        votes: One column of votes by label, or several, each named as its label.
        label_of: The speaker whose turns the label is of; ``first``: who speaks first; empty: every turn's own.
        comma: What stands for a comma in text.
        names: Names of labels that are numbers, in order from 0.
        unique: Whether an id may stand in one row only.
        unsure: Roles whose column was guessed and could be another, or none.
    """

    layout: str = ""
    turns: str = ""
    text: str = ""
    speaker: str = ""
    dialogue: tuple[str, ...] = ()
    turn: str = ""
    time: str = ""
    label: tuple[str, ...] = ()
    votes: tuple[str, ...] = ()
    rater: str = ""
    split: str = ""
    group: str = ""
    label_of: str = ""
    comma: str = ""
    names: tuple[str, ...] = ()
    unique: bool = False
    unsure: tuple[str, ...] = field(default=())

    def of(self, role: str) -> tuple[str, ...]:
        """The columns of a role."""
        value = getattr(self, role)
        return value if isinstance(value, tuple) else (value,) if value else ()


def plain(name: str) -> str:
    """A column's name without case and marks: what known names are compared by. Of ``meta.x`` it is ``x``."""
    return re.sub(r"[^a-z0-9]", "", name.rsplit(".", 1)[-1].lower())


def is_known(name: str) -> bool:
    """Whether a column's name says what it has."""
    return any(plain(name) in names for names in _KNOWN.values())


def listed(value: Any) -> list[Any] | None:
    """The turns that a cell lists: a list, or an object of lists of one length, which ``datasets`` makes of objects."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or not all(isinstance(part, list) for part in value.values()):
        return None
    if len({len(part) for part in value.values()}) != 1:
        return None
    return [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)]


def turns_column(sample: Sequence[Mapping[str, Any]]) -> str:
    """The column that lists a dialogue's turns, or nothing if a row is a turn."""
    lists: dict[str, int] = {}
    for row in sample:
        for name, value in row.items():
            turns = listed(value) if plain(name) in _TURNS else None
            if turns:
                lists[name] = lists.get(name, 0) + (2 if isinstance(turns[0], dict) else 1)
    return max(lists, key=lambda name: (lists[name], -_TURNS.index(plain(name)))) if lists else ""


def guess(
    sample: Sequence[Mapping[str, Any]], given: Columns, stated: frozenset[str], inherited: frozenset[str]
) -> Columns:
    """Fill the roles that nobody stated, by names first, then by values.

    Args:
        sample: Rows, one a turn.
        given: Columns that a layout or a flag names.
        stated: Roles that are stated, with or without a column.
        inherited: Columns that belong to a dialogue, not to a turn.
    """
    names = list(dict.fromkeys(name for row in sample for name in row))
    free = [name for name in names if not name.startswith("@")]
    found: dict[str, Any] = {}
    unsure: list[str] = []

    def fill(role: str, column: str | tuple[str, ...], sure: bool = True) -> None:
        found[role] = (column,) if role in ("dialogue", "label", "votes") and isinstance(column, str) else column
        if not sure:
            unsure.append(role)
        for name in (column,) if isinstance(column, str) else column:
            if name in free:
                free.remove(name)

    for role in stated:
        for name in given.of(role):
            if name in free:
                free.remove(name)
    if given.turns in free and "text" not in stated:
        fill("text", given.turns)  # turns that are text alone
    for role in ("split", "dialogue", "turn", "speaker", "text", "votes", "rater", "label", "time"):
        if role in stated or role in found:
            continue
        fitting = [name for name in free if plain(name) in _KNOWN[role] and _fits(role, name, sample)]
        fitting.sort(key=lambda name: name in inherited)  # a turn's own column first
        own = [name for name in fitting if name not in inherited] or fitting
        if own:
            fill(role, own[0], len(own) == 1)
    if not {"turn", "time"} & (stated | found.keys()) and any(_called(name, "time", sample) for name in free):
        unsure.append("time")  # in another form than ours: is the order of the file that of what was said?
    if "text" not in stated and "text" not in found:
        lengths = {name: sum(len(text_of(row.get(name))) for row in sample) for name in free}
        if lengths and max(lengths.values()):
            best = max(lengths, key=lambda name: lengths[name])
            fill("text", best, len(names) == 1)
    if not {"label", "votes"} & (stated | found.keys()):
        indicators = tuple(name for name in free if _indicator(name, sample))
        if len(indicators) >= LEAST_INDICATORS:
            fill("label", indicators, False)
    columns = replace(given, **found)
    columns, sure = _dialogue(columns, "dialogue" in stated, free, inherited)
    if not sure:
        unsure.append("dialogue")
    if columns.label and "label_of" not in stated and set(columns.label) <= inherited and columns.speaker:
        columns = replace(columns, label_of="first")
        unsure.append("label_of")
    if _numbered(columns, sample):
        unsure.append("names")
    return replace(columns, unsure=tuple(dict.fromkeys(unsure)))


def _dialogue(columns: Columns, stated: bool, free: list[str], inherited: frozenset[str]) -> tuple[Columns, bool]:
    """Where dialogue ids come from if no column is called so, and whether that is sure."""
    ids = [name for name in free if plain(name) in _KNOWN["id"]]
    if stated or columns.dialogue:
        return columns, True
    if columns.turns:
        ids = [name for name in ids if name in inherited]  # a turn's own id is a message's
        return replace(columns, dialogue=(ids[0],) if len(ids) == 1 else (ROW,), unique=True), True
    if columns.time and columns.speaker:
        return replace(columns, dialogue=(FILE,)), True
    if columns.turn or columns.speaker:
        return replace(columns, dialogue=(FILE,)), False
    return replace(columns, dialogue=(ids[0],) if ids else (ROW,), unique=not columns.rater), len(ids) < 2


def _called(name: str, role: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a column has a role's name, and something in it."""
    return plain(name) in _KNOWN[role] and any(row.get(name) not in (None, "") for row in sample)


def _fits(role: str, name: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    values = [row.get(name) for row in sample]
    values = [value for value in values if value not in (None, "")]
    if role in ("turn", "time"):
        return bool(values) and all(order_of(value) is not None for value in values)
    if role == "split":
        return bool(values) and all(split_named(text_of(value)) for value in values)
    if role == "votes":
        return bool(values) and all(isinstance(v, dict | list) or str(v).strip()[:1] in "{[" for v in values)
    if role == "text":
        return all(isinstance(value, str | list) for value in values)
    if role == "label":
        return not any(isinstance(value, dict) for value in values)
    return not any(isinstance(value, dict | list) for value in values)


def _indicator(name: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a column holds noughts and ones, as one has that is there for a label."""
    return all(row.get(name) in (0, 1, "0", "1", "0.0", "1.0") and row.get(name) is not True for row in sample) and all(
        row.get(name) is not False for row in sample
    )


def _numbered(columns: Columns, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether labels are numbers whose names nobody knows."""
    if len(columns.label) != 1 or columns.names:
        return False
    found = [label for row in sample for label in labels_of(row.get(columns.label[0]))]
    return bool(found) and all(label.isdigit() for label in found)
