"""A configuration from a YAML file with command-line overrides over it; what is wrong is named with its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from selfemo.config.anchors import Loc, anchored
from selfemo.config.overrides import apply, line_of
from selfemo.config.parsing import NotYaml, parse
from selfemo.config.run import Config
from selfemo.errors import UserError


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Args:
        path: A YAML file; None is all defaults.
        overrides: ``section.key=value`` strings, the value in YAML, applied over the file. Paths in them are relative
            to where we are, those in the file to the file.

    Raises:
        UserError: Names the file and line, or the override, that is wrong, and the fix.
    """
    data: Any = {}
    root: yaml.Node | None = None
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            root, data = parse(text)
            data = data or {}
        except FileNotFoundError:
            raise UserError("no such file", where=str(path), fix="see configs/ for examples") from None
        except NotYaml as error:
            where = f"{path}:{error.line}" if error.line else str(path)
            raise UserError(f"not YAML: {error.message}", where=where, fix="quote it, or mend it") from None
        except (ValueError, OSError) as error:  # not UTF-8; escapes beyond Unicode; a directory
            raise UserError(f"not YAML: {error}", where=str(path), fix="give a YAML file in UTF-8") from None
        if not isinstance(data, dict):
            raise UserError("not a mapping of sections", where=str(path), fix="see configs/demo.yaml")
    set_by: dict[tuple[str, ...], str] = {}
    for override in overrides:
        set_by[apply(data, override)] = override

    here = Path.cwd()
    beside = path.parent.resolve() if path is not None and path.is_file() else here  # a pipe lies nowhere

    def given(loc: Loc) -> str | None:
        names = tuple(map(str, loc))
        # The last that says it: a section may be given after one of its settings.
        return next((o for keys, o in reversed(set_by.items()) if names[: len(keys)] == keys), None)

    def place(loc: Loc) -> str:
        if (override := given(loc)) is not None:
            return f"--set {override}"
        return "config" if path is None else f"{path}:{line_of(root, loc)}"

    return validate(anchored(data, lambda loc: here if given(loc) is not None else beside, place), place)


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
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        fix = "remove it or correct its name" if first["type"] == "extra_forbidden" else None
        message = f"{name}: {first['msg'].removeprefix('Value error, ')}"
        raise UserError(message, where=place(first["loc"]), fix=fix) from None
