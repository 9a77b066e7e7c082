"""What is said of turns of dialogues after they were served, as rows, and corrections into dialogues as gold.

How the rows lie in a place: :mod:`selfemo.data.feedback`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from selfemo.data.dialogue import Dialogue, Text
from selfemo.data.labels import Spaces
from selfemo.errors import UserError

COLLECTED = "collected"
"""The part of a collected conversation's id that stands where a corpus's dialogues have their split."""

When = Annotated[AwareDatetime, AfterValidator(lambda when: when.astimezone(UTC))]
"""A time, in UTC."""


class OfTurn(BaseModel):
    """What readings and corrections share: a turn of a dialogue, its labels, and when they were given."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dialogue: Text = Field(min_length=1)
    turn: int = Field(ge=0)
    labels: tuple[Text, ...]
    when: When


class Reading(OfTurn):
    """What the served policy read in a turn of a collected conversation.

    Attributes:
        dialogue: Id of the conversation.
        turn: Which, counted from 0.
        labels: What it read, primary label first.
        chances: How likely each label is.
        model, version, digest: Name of what was served, its version in the registry and the hash of its weights; empty
            where it has none.
        when: It was read.
    """

    schema_: Literal["selfemo.reading/1"] = Field("selfemo.reading/1", alias="schema")
    chances: dict[Text, float] = {}
    model: Text = ""
    version: Text = ""
    digest: Text = ""


class Correction(OfTurn):
    """What a person says that a turn expresses.

    Attributes:
        dialogue: Id of the dialogue: a collected conversation, or one of a corpus.
        turn: Which, counted from 0.
        labels: Primary label first; none takes an earlier correction back.
        who: Says so.
        when: The last one counts.
        source: ``feedback`` of a client of the server, or ``review``.
    """

    schema_: Literal["selfemo.correction/1"] = Field("selfemo.correction/1", alias="schema")
    who: Text = Field(min_length=1)
    source: Literal["feedback", "review"]


def collected_id(corpus: str, key: str) -> str:
    """Id of a collected conversation.

    Args:
        corpus: Name of its label space.
        key: Its own.
    """
    return f"{corpus}/{COLLECTED}/{key}"


def is_collected(dialogue: str) -> bool:
    """Whether an id is that of a collected conversation, and not of a corpus's dialogue."""
    return dialogue.split("/")[1:2] == [COLLECTED]


def last(rows: Iterable[Correction]) -> list[Correction]:
    """The corrections that count, in the order of dialogue and turn, whatever order they come in.

    Of each turn the last one by ``when``; of two at one time the one that says more, so that all readers agree.
    """
    found: dict[tuple[str, int], Correction] = {}
    for row in rows:
        at = (row.dialogue, row.turn)
        if at not in found or _later(row) > _later(found[at]):
            found[at] = row
    return [row for _, row in sorted(found.items()) if row.labels]


@dataclass(frozen=True)
class Corrected:
    """Dialogues with what people said of them.

    Attributes:
        dialogues: All that were given, in order; corrected turns have gold.
        used: The corrections that are now gold: who said so, and when.
        unused: The others, each with the reason.
    """

    dialogues: list[Dialogue]
    used: list[Correction]
    unused: list[tuple[Correction, str]]


def corrected(dialogues: Iterable[Dialogue], corrections: Iterable[Correction], spaces: Spaces) -> Corrected:
    """Corrections into dialogues, as gold in place of what was there; of a turn, the last one.

    Args:
        dialogues: Whole: turns are counted from the first one.
        corrections: In any order.
        spaces: Labels by corpus.
    """
    waiting: dict[str, list[Correction]] = {}
    for row in last(corrections):
        waiting.setdefault(row.dialogue, []).append(row)
    made = Corrected([], [], [])
    for dialogue in dialogues:
        turns, space = list(dialogue.turns), spaces.get(dialogue.corpus)
        for row in waiting.pop(dialogue.id, []):
            labels = [space.lookup(label) for label in row.labels] if space else [None]
            if row.turn >= len(turns):
                made.unused.append((row, f"the dialogue has {len(turns)} turns"))
            elif None in labels:
                made.unused.append((row, f"not labels of {dialogue.corpus}: {', '.join(row.labels)}"))
            else:
                gold = tuple(dict.fromkeys(labels))
                turns[row.turn] = turns[row.turn].model_copy(update={"gold": gold, "votes": None})
                made.used.append(row)
        made.dialogues.append(dialogue.model_copy(update={"turns": tuple(turns)}))
    made.unused.extend((row, "the dialogue is not there") for rows in waiting.values() for row in rows)
    return made


def _later(row: Correction) -> tuple[datetime, int, bytes]:
    return row.when, len(row.labels), line_of(plain(row))


def plain(row: BaseModel) -> dict[str, Any]:
    """A row as plain data."""
    return row.model_dump(mode="json", by_alias=True)


def line_of(row: dict[str, Any]) -> bytes:
    """A line of a file, its schema first."""
    return json.dumps({"schema": row["schema"], **row}, ensure_ascii=False).encode() + b"\n"


R = TypeVar("R", bound=OfTurn)


def parsed(line: bytes, where: str, model: type[R]) -> R:
    """A line of a file.

    Args:
        line: UTF-8.
        where: File and line, for errors.
        model: What it is.

    Raises:
        UserError: If it is none.
    """
    fix = "mend it, or remove the file"
    try:
        row = json.loads(line)
        schema = model.model_fields["schema_"].default
        if not isinstance(row, dict) or row.get("schema") != schema:
            raise UserError(f"its schema is not {schema!r}", where=where, fix=fix)
        return model.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=where, fix=fix) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON that can be read: {error}", where=where, fix=fix) from None
