"""A configuration from a YAML file with command-line overrides over it; what is wrong is named with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfemo.config.anchors import Loc, anchored
from selfemo.config.nearest import nearest
from selfemo.config.overrides import apply
from selfemo.config.run import Config
from selfemo.data.corpora.load import labels_at
from selfemo.data.corpora.table import CORPORA
from selfemo.data.label_file import LabelFile, read_label_file
from selfemo.data.yamls import Yaml, read_yaml
from selfemo.errors import Unread, UserError

_OF_PYDANTIC = re.compile(r"\[key\]|(function-(before|after|wrap|plain)|literal)\[.*\]")
"""Parts of a place that nobody wrote: that a key is wrong and not its value, or which of several types was tried."""


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration, and the label files that it names.

    Args:
        path: A YAML file; None is all defaults.
        overrides: ``section.key=value`` strings, the value in YAML, applied over the file. Paths in them are relative
            to where we are, those in the file to the file.

    Raises:
        UserError: Names the file and line, or the override, that is wrong, and the fix.
    """
    written = Yaml({}, None, "config")
    if path is not None:
        try:
            written = read_yaml(path)
        except UserError as error:
            fix = error.fix if path.exists() else "see configs/ for examples"
            raise UserError(error.message, where=error.where, fix=fix) from None
    data: Any = {} if written.data is None else written.data
    if not isinstance(data, dict):
        raise UserError("not a mapping of sections", where=str(path), fix="see configs/demo.yaml")
    in_file = deepcopy(data)
    set_by: dict[tuple[str, ...], str] = {}
    for override in overrides:
        set_by[apply(data, override)] = override

    here = Path.cwd()
    folder = path.parent.resolve() if path is not None and path.is_file() else here  # a pipe lies nowhere

    def given(loc: Loc) -> str | None:
        names = tuple(map(str, loc))
        said = list(reversed(set_by.items()))
        # The last that says it: a section may be given after one of its settings.
        whole = (o for keys, o in said if names[: len(keys)] == keys)
        # A section that is in no file is there for the sake of its setting.
        below = (o for keys, o in said if keys[: len(names)] == names and not _has(in_file, loc))
        return next(whole, None) or next(below, None)

    def place(loc: Loc) -> str:
        if (override := given(loc)) is not None:
            return f"--set {override}"
        return "config" if path is None else written.where(loc)

    data = anchored(data, lambda loc: here if given(loc) is not None else folder, place)
    return validate(with_labels(data, place), place)


def _has(data: Any, loc: Loc) -> bool:
    """Whether nested data has something at a place."""
    for key in loc:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def with_labels(data: dict[str, Any], place: Callable[[Loc], str]) -> dict[str, Any]:
    """Nested plain data of a configuration in which each corpus of the user's own has its labels, not their place.

    Where none are named and none lie beside the corpus, there are none: a machine that only serves a policy has no
    corpora.

    Args:
        data: Sections; relative names of label files are so to where we are.
        place: Says where a setting comes from, for errors.

    Raises:
        UserError: If a label file cannot be read, or holds no label space; names file and line.
    """
    corpora = data.get("corpora")
    if not isinstance(corpora, (list, tuple)):
        return data
    store = data.get("store")
    endpoint = store.get("endpoint") if isinstance(store, dict) else None
    found = [
        _corpus(corpus, endpoint, partial(place, ("corpora", number, "labels")))
        for number, corpus in enumerate(corpora)
    ]
    return {**data, "corpora": found}


def _corpus(corpus: Any, endpoint: str | None, where: Callable[[], str]) -> Any:
    if not isinstance(corpus, dict) or corpus.get("name") in CORPORA:
        return corpus
    named, path = corpus.get("labels"), corpus.get("path")
    labels: LabelFile | None = None
    if isinstance(named, str):
        try:
            labels = read_label_file(Path(named).expanduser())
        except UserError as error:
            if error.message == "no such file":
                raise UserError(f"there is no label file {error.where}", where=where()) from None
            raise
    elif named is None and isinstance(path, str):
        try:
            labels = labels_at(path, endpoint)
        except Unread:  # a command that needs no corpora needs no store either; who needs its labels is told
            return corpus
    return corpus if labels is None else {**corpus, "labels": labels.model_dump(mode="json")}


def validate(data: dict[str, Any], place: Callable[[Loc], str]) -> Config:
    """Nested plain data to a configuration.

    Args:
        data: Sections.
        place: Says where a setting comes from, for errors.

    Raises:
        UserError: Names the setting that is wrong, where it stands, and the fix.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        # A name that is misspelt comes first: that another one is missing then follows from it.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        at = tuple(part for part in first["loc"] if not _OF_PYDANTIC.fullmatch(str(part)))
        name = ".".join(map(str, at))
        fix = None
        if first["type"] == "extra_forbidden":
            meant = nearest(at)
            fix = f"did you mean {' or '.join(meant)}? Else remove it" if meant else "remove it or correct its name"
        if first["type"] == "string_type" and isinstance(first["input"], (bool, int, float)):
            text = f"'{json.dumps(first['input'])}'"
            fix = f'write it as text, in quotes that YAML sees: {text} in a file, --set "{name}={text}" in a shell'
        message = f"{name}: {first['msg'].removeprefix('Value error, ')}"
        raise UserError(message, where=place(at), fix=fix) from None
