"""Turns to be labelled as Label Studio's tasks, and the labels back out of its exports, JSON or JSON-MIN.

Its page tells several choices of one group in the order in which they are shown, not in that of the clicks. So there
are two groups: one choice for the label that counts first, any number for the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from selfemo.data.corrections import Correction
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.review.asked import Asked
from selfemo.review.table import add, given, known

FIRST, ALSO = "labels", "also"
"""The groups of choices: the primary label, and the others."""
_NOTHING = {"author": "", "text": "(nothing was said before)"}
"""The history of a first turn: of an empty one Label Studio 1.23's page stays blank."""
_FIX = "export the project from Label Studio as JSON or JSON-MIN"


def tasks(turns: Sequence[Asked]) -> str:
    """What Label Studio imports: a task a turn, with what the policy read as its prediction."""
    return json.dumps([_task(turn) for turn in turns], ensure_ascii=False, indent=1)


def _task(turn: Asked) -> dict[str, Any]:
    data = {
        "dialogue": turn.dialogue,
        "turn": turn.turn,
        "why": "; ".join(turn.why),
        "history": [{"author": said.speaker, "text": said.text} for said in turn.history] or [_NOTHING],
        "text": f"{turn.said.speaker}: {turn.said.text}",
    }
    if not turn.chances:
        return {"data": data}
    label, chance = next(iter(turn.chances.items()))
    result = {"from_name": FIRST, "to_name": "text", "type": "choices", "value": {"choices": [label]}}
    return {"data": data, "predictions": [{"model_version": "self-emo", "score": chance, "result": [result]}]}


def interface(space: LabelSpace) -> str:
    """The labelling interface of a project for these tasks (XML)."""
    view = ElementTree.Element("View")
    paragraphs = {"name": "history", "value": "$history", "layout": "dialogue", "nameKey": "author", "textKey": "text"}
    ElementTree.SubElement(view, "Paragraphs", paragraphs)
    ElementTree.SubElement(view, "Header", {"value": "$why", "size": "6"})
    ElementTree.SubElement(view, "Text", {"name": "text", "value": "$text"})
    for name, choice, above in ((FIRST, "single", "Foremost"), (ALSO, "multiple", "Also, if anything")):
        ElementTree.SubElement(view, "Header", {"value": above, "size": "6"})
        group = {"name": name, "toName": "text", "choice": choice, "layout": "inline"}
        choices = ElementTree.SubElement(view, "Choices", group)
        for label in space.labels:
            ElementTree.SubElement(choices, "Choice", {"value": label})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def read(
    path: Path, spaces: dict[str, LabelSpace], turns: Mapping[str, int], who: str, when: datetime
) -> list[Correction]:
    """The labels of an export's tasks; of several annotations of a task the last one counts.

    Args:
        path: JSON or JSON-MIN.
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
    last: dict[Any, tuple[str, str, dict[str, Any], list[str]]] = {}
    for number, task in enumerate(found, 1):
        where = f"{path}: task {number}"
        try:
            for at, data, names in _annotations(task):
                typed = isinstance(data["dialogue"], str) and type(data["turn"]) is int and data["turn"] >= 0
                if not typed or not all(isinstance(name, str) for name in names):
                    raise TypeError("a dialogue and its labels are texts, a turn is a number")
                key = (task.get("id", where), data["dialogue"], data["turn"])
                if key not in last or at >= last[key][0]:  # JSON-MIN has an item an annotation
                    last[key] = (at, where, data, names)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not a task of `selfemo review export`: {error}", where=where, fix=_FIX) from None
    rows: dict[tuple[str, int], Correction] = {}
    for _, where, data, names in last.values():
        if names:
            dialogue, turn = data["dialogue"], data["turn"]
            labels = given(names, dialogue, spaces, where)
            known(dialogue, turn, turns, where)
            row = Correction(dialogue=dialogue, turn=turn, labels=labels, who=who, when=when, source="review")
            add(rows, row, where)
    return list(rows.values())


def _annotations(item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """What people said of a task, one after the other: when, the task's data, labels with the primary one first."""
    if "data" not in item:
        yield _when(item), item, [*_choices(item.get(FIRST)), *_choices(item.get(ALSO))]
        return
    yield "", item["data"], []  # it may have no annotation
    for one in item.get("annotations") or []:
        if not one.get("was_cancelled"):
            said = {
                name: [x for r in one["result"] if r["from_name"] == name for x in r["value"]["choices"]]
                for name in (FIRST, ALSO)
            }
            yield _when(one), item["data"], said[FIRST] + said[ALSO]


def _when(row: dict[str, Any]) -> str:
    """When it was changed last, as text that sorts."""
    return str(row.get("updated_at") or row.get("created_at") or "")


def _choices(value: Any) -> list[Any]:
    """Those of a group in JSON-MIN, which has one by itself and several as an object."""
    if value is None:
        return []
    return value["choices"] if isinstance(value, dict) else [value]
