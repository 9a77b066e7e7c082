"""Label spaces as requests name them, and answers that a client wants as JSON of a schema of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfemo.data.labels import LabelSpace

_OBJECT = {"type", "properties", "required", "additionalProperties", "title", "description", "$schema", "$defs"}
"""What the schema of an object may say; none of it keeps an answer out."""
PROPERTY = "emotions"
"""Of the answer, where a client wants JSON and gives no schema."""


class Unknown(ValueError):
    """A space or a schema that cannot be answered."""


Spaces = Mapping[str, LabelSpace]
"""Label spaces by corpus."""


def space_named(name: str, spaces: Spaces) -> LabelSpace:
    """A label space by the name of its corpus.

    Raises:
        Unknown: If there is none such.
    """
    if name not in spaces:
        raise Unknown(f"labels: no such corpus; known: {', '.join(spaces)}")
    return spaces[name]


@dataclass(frozen=True)
class Form:
    """What JSON a client wants: the emotions of the last message, as a list or as one name.

    Attributes:
        space: Whose labels.
        properties: Of the object: whether each is a list.
        allowed: The answers that the schema lets pass, as indices of the space's.
    """

    space: LabelSpace
    properties: Mapping[str, bool]
    allowed: tuple[int, ...]

    def answer(self, chances_A: np.ndarray) -> dict[str, Any]:
        """The likeliest answer that the schema lets pass."""
        best = max(self.allowed, key=lambda a: chances_A[a])
        labels = self.space.answers[best]
        return {name: list(labels) if many else labels[0] for name, many in self.properties.items()}


def form_of(response_format: Mapping[str, Any], default: str, spaces: Spaces) -> Form | None:
    """What a chat's ``response_format`` asks for; None for text.

    Args:
        response_format: As OpenAI words it.
        default: The space to use, if its labels fit the schema.
        spaces: Those there are.

    Raises:
        Unknown: If it is a form that is not answered.
    """
    kind = response_format.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        space = space_named(default, spaces)
        return Form(space, {PROPERTY: True}, tuple(range(len(space.answers))))
    if kind != "json_schema":
        raise Unknown("response_format: type is text, json_object or json_schema")
    described = response_format.get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if not isinstance(schema, Mapping):
        raise Unknown("response_format: json_schema has no schema")
    properties = dict(_properties(schema))
    names = {label for labels, _, _ in properties.values() for label in labels}
    fits = [s for s in (space_named(default, spaces), *spaces.values()) if names <= set(s.labels)]
    if not fits:
        raise _refused(f"the labels {', '.join(sorted(names))[:200]} are not those of one label space")
    space = fits[0]
    allowed = tuple(
        i
        for i, answer in enumerate(space.answers)
        if all(
            set(answer if many else answer[:1]) <= set(labels) and (not many or len(answer) <= most)
            for labels, many, most in properties.values()
        )
    )
    if not allowed:
        raise _refused("no label set fits it")
    return Form(space, {name: many for name, (_, many, _) in properties.items()}, allowed)


def _properties(schema: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Sequence[str], bool, int]]]:
    """Each property of an object: its labels, whether it is a list, and how long that may be."""
    given = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(given, Mapping) or not given:
        raise _refused("it is no object with properties")
    if unknown := set(schema) - _OBJECT:
        raise _refused(f"it has {', '.join(map(repr, sorted(map(str, unknown))))[:100]}")
    for name, wanted in given.items():
        where = f"property {str(name)[:50]!r}"
        wanted = _resolved(wanted, schema)
        if not isinstance(wanted, Mapping):
            raise _refused(f"{where} is no object")
        many = wanted.get("type") == "array"
        known = {"type", "title", "description", "items", "minItems", "maxItems", "uniqueItems"}
        if unknown := set(wanted) - (known if many else {"type", "title", "description", "enum", "const"}):
            raise _refused(f"{where} has {', '.join(map(repr, sorted(map(str, unknown))))[:100]}")
        one = _resolved(wanted.get("items"), schema) if many else wanted
        labels = one.get("enum", [one["const"]] if "const" in one else None) if isinstance(one, Mapping) else None
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            raise _refused(f"{where} has no enum of labels")
        most = wanted.get("maxItems", len(labels))
        least = wanted.get("minItems", 0)
        if not isinstance(most, int) or not isinstance(least, int) or least > 1 or most < 1:
            raise _refused(f"{where}: a label set has one label or more")
        yield str(name), (labels, many, most)


def _resolved(part: Any, schema: Mapping[str, Any]) -> Any:
    """What stands under ``$defs``, where a part refers to it: so pydantic writes enumerations."""
    name = str(part.get("$ref", "")) if isinstance(part, Mapping) else ""
    defined = schema.get("$defs")
    if name.startswith("#/$defs/") and isinstance(defined, Mapping):
        return defined.get(name.removeprefix("#/$defs/"))
    return part


def _refused(why: str) -> Unknown:
    text = "answers in JSON name the emotions of the last message, by properties with an enum of labels"
    return Unknown(f"response_format: this schema is not supported: {why}; {text}")
