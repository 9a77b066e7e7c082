"""Names of labels from a file: a label space as YAML, or a list with a name a line, for labels that are numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfemo.data.label_file import LabelFile, read_label_file
from selfemo.data.text import lines
from selfemo.errors import UserError


@dataclass(frozen=True)
class LabelNames:
    """What a file says of labels.

    Attributes:
        by_number: Names in order, for labels that are numbers from 0.
        file: The label space; None where whatever is found is a label.
    """

    by_number: tuple[str, ...] = ()
    file: LabelFile | None = None


def read_label_names(path: Path) -> LabelNames:
    """Read ``--labels``.

    Raises:
        UserError: If it is neither a label space nor a list of names.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        found = read_label_file(path)
        return LabelNames(found.space().labels, found)
    try:
        names = [line.strip() for line in lines(path.read_text(encoding="utf-8-sig")) if line.strip()]
    except OSError as error:
        raise UserError(error.strerror or "cannot be read", where=str(path), fix="correct --labels") from None
    except UnicodeDecodeError:
        raise UserError("not UTF-8", where=str(path), fix="write it as UTF-8") from None
    if not names or len(set(names)) != len(names):
        raise UserError("not a list of names, each once", where=str(path), fix="write one name a line, in order")
    return LabelNames(tuple(names))
