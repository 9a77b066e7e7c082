"""Turns to be labelled as Label Studio's tasks, and the labels back out of its export (its JSON format)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from selfemo.data.corrections import Correction
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.review.asked import Asked
from selfemo.review.table import add, given, known

_FIX = "export the project from Label Studio as JSON"


def tasks(turns: Sequence[Asked]) -> str:
    """What Label Studio imports: a task a turn, with what the policy read as its prediction."""
    return json.dumps([_task(turn) for turn in turns], ensure_ascii=False, indent=1)


def _task(turn: Asked) -> dict[str, Any]:
    data = {
        "dialogue": turn.dialogue,
        "turn": turn.turn,
        "why": "; ".join(turn.why),
        "history": [{"author": said.speaker, "text": said.text} for said in turn.history],
        "text": f"{turn.said.speaker}: {turn.said.text}",
    }
    if not turn.chances:
        return {"data": data}
    label, chance = next(iter(turn.chances.items()))
    result = {"from_name": "labels", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
    return {"data": data, "predictions": [{"model_version": "self-emo", "score": chance, "result": [result]}]}


def interface(space: LabelSpace) -> str:
    """The labelling interface of a project for these tasks (XML)."""
    view = ElementTree.Element("View")
    paragraphs = {"name": "history", "value": "$history", "layout": "dialogue", "nameKey": "author", "textKey": "text"}
    ElementTree.SubElement(view, "Paragraphs", paragraphs)
    ElementTree.SubElement(view, "Header", {"value": "$why", "size": "6"})
    ElementTree.SubElement(view, "Text", {"name": "text", "value": "$text"})
    choices = ElementTree.SubElement(view, "Choices", {"name": "labels", "toName": "text", "choice": "multiple"})
    for label in space.labels:
        ElementTree.SubElement(choices, "Choice", {"value": label})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def read(
    path: Path, spaces: dict[str, LabelSpace], turns: Mapping[str, int], who: str, when: datetime
) -> list[Correction]:
    """The labels of an export's tasks; of several annotations of a task the last one counts.

    Args:
        path: JSON.
        spaces: Labels by corpus, which a dialogue's id begins with.
        turns: How many turns each dialogue has, by its id.
        who: Gave them.
        when: The time.

    Raises:
        UserError: If it is no such file, or a task names no turn or no label; names file and task.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(error.strerror or str(error), where=str(path), fix="give a file that can be read") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON: {error}", where=str(path), fix=_FIX) from None
    if not isinstance(found, list):
        raise UserError("not a list of tasks", where=str(path), fix=_FIX)
    rows: dict[tuple[str, int], Correction] = {}
    for number, task in enumerate(found, 1):
        where = f"{path}: task {number}"
        try:
            data, annotations = task["data"], task.get("annotations") or []
            dialogue, turn = data["dialogue"], data["turn"]
            kept = [one for one in annotations if not one.get("was_cancelled")]
            names = [
                name
                for one in kept[-1:]
                for result in one["result"]
                if result["from_name"] == "labels"
                for name in result["value"]["choices"]
            ]
            typed = isinstance(dialogue, str) and type(turn) is int and turn >= 0
            if not typed or not all(isinstance(name, str) for name in names):
                raise TypeError("a dialogue and its labels are texts, a turn is a number")
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not a task of `selfemo review export`: {error}", where=where, fix=_FIX) from None
        if names:
            labels = given(names, dialogue, spaces, where)
            known(dialogue, turn, turns, where)
            add(
                rows,
                Correction(dialogue=dialogue, turn=turn, labels=labels, who=who, when=when, source="review"),
                where,
            )
    return list(rows.values())
