"""The one form of a label space, as YAML or JSON: in a file of its own, in a configuration, beside weights.

```yaml
name: support
labels: {calm: {aliases: [none], description: no particular emotion}, joy: {aliases: [happy]}, anger: {}}
neutral: calm
affinity: {joy~anger: 0.1}
sets: [[joy, anger]]
```
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_serializer, field_validator

from selfemo.data.labels import BadLabels, LabelSpace, Spaces
from selfemo.data.text import nfc
from selfemo.data.yamls import Yaml, read_yaml
from selfemo.errors import CorruptArtifact, UserError

LABELS = "labels.yaml"
"""In the directory of a corpus: its label space."""
SPACES = "labels.json"
"""Beside prepared data, scores and weights: the label spaces they are of."""


def _text(value: Any) -> Any:
    if isinstance(value, (bool, int, float)):  # what YAML makes of no, on and 1
        raise ValueError(f"{value!r} is no text: put it in quotes")
    return nfc(value.strip()) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_text)]


class Label(BaseModel):
    """What is known of a label.

    Attributes:
        aliases: Other spellings that mean it.
        description: What it means, in a sentence; prompts for understanding say it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: tuple[Text, ...] = ()
    description: str = Field("", max_length=300)


class LabelFile(BaseModel):
    """A label space as it is written; see :class:`selfemo.data.labels.LabelSpace`.

    ``labels`` is a list of names, or a mapping of a name to what is known of it; an item of the list may be such a
    mapping of one name. As a list it is written back: JSON may sort the keys of a mapping, and the order counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text = ""
    labels: dict[Text, Label]
    neutral: Text | None = None
    affinity: dict[Text, float] = {}
    sets: tuple[tuple[Text, ...], ...] = ()

    @field_validator("labels", mode="before")
    @classmethod
    def _named(cls, labels: Any) -> Any:
        if isinstance(labels, (list, tuple)):
            items = [item if isinstance(item, dict) and len(item) == 1 else {item: None} for item in map(_item, labels)]
            names = [_text(name) for item in items for name in item]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{twice!r} is named twice")
            labels = {name: known for item in items for name, known in item.items()}
        if isinstance(labels, dict):
            return {name: {} if known is None else known for name, known in labels.items()}
        return labels

    @field_serializer("labels")
    def _in_order(self, labels: dict[str, Label]) -> list[Any]:
        known = {name: label.model_dump(mode="json", exclude_defaults=True) for name, label in labels.items()}
        return [{name: what} if what else name for name, what in known.items()]

    def space(self, name: str = "") -> LabelSpace:
        """The label space.

        Args:
            name: That it has, if it states none.

        Raises:
            BadLabels: If it is none.
        """
        # A label that is listed as its own alias, as in its plural or another case, is no alias.
        aliases: dict[str, str] = {}
        for label, known in self.labels.items():
            for alias in known.aliases:
                if aliases.setdefault(alias, label) != label:
                    place = ("labels", label, "aliases", alias)
                    raise BadLabels(place, f"{alias!r} is an alias of {aliases[alias]!r} and of {label!r}", self.name)
        return LabelSpace(
            self.name or name,
            tuple(self.labels),
            aliases,
            self.neutral,
            self.sets,
            self.affinity,
            {label: " ".join(known.description.split()) for label, known in self.labels.items() if known.description},
        )

    @classmethod
    def of(cls, space: LabelSpace) -> LabelFile:
        """The inverse of :meth:`space`."""
        labels = {
            label: Label(
                aliases=tuple(a for a, meant in space.aliases.items() if meant == label),
                description=space.descriptions.get(label, ""),
            )
            for label in space.labels
        }
        return cls(
            name=space.name, labels=labels, neutral=space.neutral, affinity=dict(space.affinity), sets=space.sets
        )


def _item(item: Any) -> Any:
    """An item of a list of labels; what cannot be a key is shown as what is wrong with it."""
    if isinstance(item, dict) and len(item) != 1:
        raise ValueError("an item of labels is a name, or one name with what is known of it")
    if isinstance(item, list):
        raise ValueError(f"{item!r} is no name of a label")
    return item


def parse(data: Any, written: Yaml) -> LabelFile:
    """What a YAML document says, checked whole.

    Args:
        data: The document.
        written: Where it stands, for errors.

    Raises:
        UserError: Names file and line.
    """
    fix = "see docs/labels.md for the form"
    try:
        found = LabelFile.model_validate(data)
        if not found.name:
            raise UserError("the label space has no name", where=written.where(()), fix="add a line such as name: mine")
        found.space()
        return found
    except ValidationError as error:
        first = error.errors()[0]
        at = tuple(part for part in first["loc"] if part != "[key]")
        message = first["msg"].removeprefix("Value error, ")
        unknown = first["type"] == "extra_forbidden"
        raise UserError(
            f"{'.'.join(map(str, at))}: {'is no key of a label file' if unknown else message}",
            where=written.where(at),
            fix="remove it or correct its name" if unknown else fix,
        ) from None
    except BadLabels as error:
        raise UserError(error.message, where=written.where(error.place), fix=fix) from None


def read_label_file(path: Path) -> LabelFile:
    """A label space from its own file.

    Raises:
        UserError: If there is no such file, or it is no label space; names file and line.
    """
    written = read_yaml(path)
    if not isinstance(written.data, dict):
        raise UserError("not a mapping with name and labels", where=str(path), fix="see docs/labels.md for the form")
    return parse(written.data, written)


@cache
def shipped_space(name: str) -> LabelSpace:
    """The label space of a corpus that this project knows, from its file in the package."""
    file = files("selfemo.data") / "spaces" / f"{name}.yaml"
    return parse_text(file.read_text(encoding="utf-8"), f"{name}.yaml").space()


def parse_text(text: str, name: str) -> LabelFile:
    """A label space from the text of its file.

    Args:
        text: YAML.
        name: What it is called in errors.

    Raises:
        UserError: As :func:`read_label_file`.
    """
    written = Yaml.of(text, name)
    return parse(written.data, written)


def write_spaces(path: Path, spaces: Spaces) -> None:
    """Write label spaces by corpus, in order; :func:`read_spaces` reads them back."""
    rows = {corpus: LabelFile.of(space).model_dump(mode="json") for corpus, space in spaces.items()}
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def spaces_at(directory: Path) -> dict[str, LabelSpace]:
    """The label spaces that a directory holds by corpus; none if it holds none."""
    return read_spaces(directory / SPACES) if (directory / SPACES).is_file() else {}


def read_spaces(path: Path) -> dict[str, LabelSpace]:
    """Label spaces by corpus.

    Raises:
        CorruptArtifact: If the file holds none.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {str(corpus): LabelFile.model_validate(row).space(corpus) for corpus, row in rows.items()}
    except (ValueError, AttributeError, RecursionError, UserError) as error:
        first = str(error).split("\n", 1)[0]
        raise CorruptArtifact(f"holds no label spaces: {first}", where=str(path)) from None
