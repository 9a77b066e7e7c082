"""What a cell says: text, a key, a number for the order, labels, votes."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from selfemo.data.text import nfc

MOST_LITERAL = 100_000
"""Characters of a printed list: what is longer is none."""
_WHOLE = re.compile(r"(-?[0-9]{1,18})\.0*")
_NUMBERS = re.compile(r"\[[\d\s,]*\]")


def text_of(value: Any) -> str:
    """Text as it is, in Unicode's composed form; OpenAI's content parts are joined.

    Halves of surrogate pairs, which JSON can spell and no file can hold, become U+FFFD.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        parts = [part.get("text", "") if isinstance(part, dict) else part for part in value]
        value = "\n".join(str(part) for part in parts if part)
    text = value if isinstance(value, str) else str(value)
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return nfc(text)


def key_of(value: Any) -> str:
    """An id as text: 3, 3.0 and "3.0" are one. pandas writes 3.0 for 3 in a column that has an empty cell."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    found = text_of(value).strip()
    match = _WHOLE.fullmatch(found)
    return match.group(1) if match else found


def order_of(value: Any) -> float | None:
    """A place in an order: a number, or seconds of a time (ISO 8601, or a ``datetime``); None if it is neither."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    try:
        number = float(str(value))
        return number if math.isfinite(number) else None
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(str(value).strip()).timestamp()
    except (ValueError, OverflowError):
        return None


def labels_of(value: Any) -> list[str]:
    """The labels that a cell names, in order, each once.

    A list; ``["a", "b"]`` as JSON or as Python or numpy print it; ``a|b``, ``a,b``, ``a;b``; one alone. Empty: none.
    """
    if isinstance(value, str):
        value = _printed(value) if value.strip().startswith("[") else re.split(r"[|,;]", value)
    if not isinstance(value, list | tuple):
        value = [value]
    names = (key_of(item) for item in value)
    return list(dict.fromkeys(name for name in names if name and name.lower() != "nan"))


def _printed(text: str) -> list[Any]:
    if _NUMBERS.fullmatch(text.strip()):
        return re.findall(r"\d+", text)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text.strip()) if len(text) <= MOST_LITERAL else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found = None
    return found if isinstance(found, list) else re.split(r"[|,;]", text.strip().strip("[]"))


def votes_of(value: Any) -> dict[str, float] | None:
    """Votes by label: an object, its JSON, or a list that names a label once for each vote. None: no votes.

    Raises:
        ValueError: For anything else, and for votes that are no proportions.
    """
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            try:
                value = ast.literal_eval(value.strip()) if len(value) <= MOST_LITERAL else None
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                raise ValueError("neither an object of labels and votes nor a list of labels") from None
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        value = dict(value)  # what pyarrow makes of a map
    if isinstance(value, list):
        return counted([labels_of(item) for item in value])
    if not isinstance(value, Mapping):
        raise ValueError("neither an object of labels and votes nor a list of labels")
    return numbers({key_of(label): share for label, share in value.items()})


def numbers(values: Mapping[str, Any]) -> dict[str, float] | None:
    """Votes as numbers; labels without any are left out. None if nobody voted.

    Raises:
        ValueError: For what is no finite number of 0 or more.
    """
    votes = {}
    for label, value in values.items():
        try:
            share = float(value if value not in (None, "") else 0)
        except (TypeError, ValueError):
            raise ValueError(f"{str(value)[:40]!r} is no number of votes") from None
        if not math.isfinite(share) or share < 0:
            raise ValueError(f"{share} is no number of votes")
        if share and label:
            votes[label] = share
    return votes or None


def counted(ballots: Sequence[Sequence[str]]) -> dict[str, float] | None:
    """Votes by label of raters, each of whom may have named several."""
    votes: dict[str, float] = {}
    for ballot in ballots:
        for label in ballot:
            votes[label] = votes.get(label, 0.0) + 1.0
    return votes or None


def majority(votes: Mapping[str, float] | None, raters: float | None = None) -> list[str]:
    """Labels that at least half of the raters named, most votes first. Defined here.

    Args:
        votes: By label.
        raters: How many voted; by default as many as there are votes.
    """
    if not votes:
        return []
    whole = raters or sum(votes.values())
    return sorted((label for label, share in votes.items() if 2 * share >= whole), key=lambda label: -votes[label])
