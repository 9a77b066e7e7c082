"""Replies of a model parsed back into sets of emotions, and what it said (method.md, Tasks).

Labels are found whatever their script (:mod:`selfemo.data.spelling`). The frame of an answer, "Emotion:" and "Reply:",
is English, as the prompts that ask for it are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from selfemo.data.labels import LabelSpace, Mask
from selfemo.data.scripts import fold
from selfemo.data.text import lines


@dataclass(frozen=True)
class Answer:
    """A parsed reply of the model.

    Attributes:
        labels: Most likely first; empty if there are none.
        reply: The reply text of an expression, else None.
        parsed: False if the text could not be read as an answer at all.
    """

    labels: tuple[str, ...] = ()
    reply: str | None = None
    parsed: bool = False

    def mask(self, space: LabelSpace) -> Mask:
        """The labels as a bit mask; 0 if unparsed."""
        return space.mask(self.labels)


_MOST_BRACKETS = 100
"""Of a text, at which JSON is looked for: an answer that is some has it at one of its first."""
_FIELD = re.compile(r"(?:emotions?|labels?|answer)\b[^\n:=：]{0,40}?(?:is|are|[:=：])+\s*(.+)", re.IGNORECASE)
_REPLY = re.compile(r"(?:^|\n|[|;])[^\S\n]*(?:reply|response|text)\s*[:=：]\s*(.*)", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:not|isn't|isnt|no|never|without|neither|nor)\s+(?:\w+\s+)?$"
    r"|\b(?:nicht|kein|keine|ohne|pas|sans|non|sin|nunca|sem|não|не|нет|без|değil|ليس|غير|بلا|لا)\s+$"
    r"|(?:^|\s)(?:안|못)\s+$"
    r"|(?:不|不是|没|沒|没有|沒有|無|无|非|未)\s?$"
)
"""What right before a label says that it is not meant, in a folded text; one that is part of a label is no negation."""


def parse_understanding(text: str, space: LabelSpace) -> Answer:
    """Read a label set out of a reply.

    Understands aliases, any case, plurals, lists, JSON, and chatter around the answer; never executes it.

    Args:
        text: What the model wrote after the prompt.
        space: Whose labels count.

    Returns:
        Labels in the order they are named. ``parsed`` is False if the text names none and is not an
        explicitly empty answer (``[]``).
    """
    if plain := _plain(text, space):
        return Answer(plain, parsed=True)
    value = _json_in(text)
    if value is not None:
        words = list(_strings(value))
        labels = _unique(label for word in words for label in _named(word, space))
        if labels or (not words and value in ([], {})):
            return Answer(labels, parsed=True)
    field = _FIELD.search(text)
    # The answer is the first line that names a label; what follows is chatter.
    for line in [*([field.group(1)] if field else []), *lines(text)]:
        if labels := _unique(_named(line, space)):
            return Answer(labels, parsed=True)
    return Answer()


def parse_expression(text: str, space: LabelSpace) -> Answer:
    """Read a label set and a reply out of a reply to an expression prompt.

    Args:
        text: ``joy, surprise\\nReply: Oh!``, JSON with ``emotion`` and ``reply``, or the same with chatter.
        space: Whose labels count.

    Returns:
        ``parsed`` is False unless both parts were found; the reply is its first line.
    """
    value = _json_in(text)
    if isinstance(value, dict):
        folded = {str(k).lower(): v for k, v in value.items()}
        reply = next((folded[k] for k in ("reply", "response", "text") if isinstance(folded.get(k), str)), None)
        named = [v for k, v in folded.items() if k.startswith(("emotion", "label"))]
        labels = _unique(label for word in _strings(named) for label in _named(word, space))
        return Answer(labels, _first_line(reply or ""), parsed=bool(labels) and reply is not None)
    match = _REPLY.search(text)
    head, reply = (text[: match.start()], match.group(1)) if match else (text.partition("\n")[::2])
    if match is None and not reply.strip():
        return Answer()
    named_in_head = parse_understanding(head, space)
    return Answer(named_in_head.labels, _first_line(reply), parsed=named_in_head.parsed)


def parse_reply(text: str, labels: Sequence[str]) -> Answer:
    """A reply that goes on from what it declares, which stood in the prompt: nothing in it can declare anything else.

    Args:
        text: What was sampled; its first line is the reply.
        labels: What was declared.
    """
    reply = _first_line(text)
    return Answer(tuple(labels), reply, parsed=bool(reply))


def _plain(text: str, space: LabelSpace) -> tuple[str, ...]:
    """An answer of the form that is taught, spellings separated by commas: read as it stands, whatever labels are."""
    first = _first_line(text)
    said = [space.words.get(fold(part)) for part in first.split(",")] if len(first) < 10_000 else []
    return _unique(label for label in said if label) if None not in said else ()


def _named(text: str, space: LabelSpace) -> Iterator[str]:
    """Labels named in a text, in order, those directly negated left out."""
    for label, before in space.found(text):
        if not _NEGATION.search(before[-40:]):
            yield label


def _unique(labels: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(labels))


def _first_line(text: str) -> str:
    return next((line.strip() for line in lines(text) if line.strip()), "")


def _json_in(text: str) -> Any:
    """The first JSON list or object inside a text, or None; it is looked for at its first brackets alone: linear."""
    decoder = json.JSONDecoder()
    for bracket in islice(re.finditer(r"[\[{]", text), _MOST_BRACKETS):
        try:
            value, _ = decoder.raw_decode(text, bracket.start())
        except ValueError:
            continue
        except RecursionError:  # a thousand lists deep: no answer, and those within are none either
            return None
        return value
    return None


def _strings(value: Any, depth: int = 8) -> Iterator[str]:
    """All strings in a JSON value; keys count where their value is a score above zero."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, list):
        for item in value:
            yield from _strings(item, depth - 1)
    elif depth and isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, (int, float)):  # {"joy": 0.9, "anger": 0} or {"joy": true}
                if item > 0:
                    yield key
            else:
                yield from _strings(item, depth - 1)
