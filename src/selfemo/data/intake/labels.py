"""Names of labels from a file: a label space as YAML, or a plain list with a name a line, for labels that are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfemo.errors import UserError


@dataclass(frozen=True)
class LabelNames:
    """What a file says of labels.

    Attributes:
        by_number: Names in order, for labels that are numbers from 0.
        words: Every spelling to its label; empty where whatever is found is a label.
        space: The label space as it is written, to be copied beside the corpus; empty for a plain list.
    """

    by_number: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)


def read_label_names(path: Path) -> LabelNames:
    """Read ``--labels``.

    Raises:
        UserError: If it is neither a label space nor a list of names.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        return _space(path)
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise UserError(error.strerror or "cannot be read", where=str(path), fix="correct --labels") from None
    except UnicodeDecodeError:
        raise UserError("not UTF-8", where=str(path), fix="write it as UTF-8") from None
    if not names or len(set(names)) != len(names):
        raise UserError("not a list of names, each once", where=str(path), fix="write one name a line, in order")
    return LabelNames(tuple(names))


def _space(path: Path) -> LabelNames:
    import yaml

    fix = "write `labels:` as a list of names, or as a mapping of names to {aliases, description}"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(error.strerror or "cannot be read", where=str(path), fix="correct the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError("not YAML", where=f"{path}{line}", fix=fix) from None
    labels = data.get("labels") if isinstance(data, dict) else None
    if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
        labels = {label: {} for label in labels}
    if not isinstance(labels, dict) or not labels:
        raise UserError("has no labels", where=str(path), fix=fix)
    words: dict[str, str] = {}
    for label, known in labels.items():
        aliases = (known or {}).get("aliases", []) if isinstance(known, dict) or known is None else None
        if not isinstance(label, str) or not isinstance(aliases, list):
            raise UserError(f"label {str(label)[:60]!r} is not as it should be", where=str(path), fix=fix)
        for alias in map(str, aliases):
            words.setdefault(alias, label)
    words |= {label: label for label in labels}
    return LabelNames(tuple(labels), words, data)
