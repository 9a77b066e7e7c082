"""What was given to import: files and directories of known forms, and the split that a name states."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfemo.errors import UserError

Form = Literal["csv", "json", "jsonl", "parquet", "arrow", "convokit", "iemocap"]

_SPLITS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "dev": "dev",
    "development": "dev",
    "devel": "dev",
    "valid": "dev",
    "validation": "dev",
    "val": "dev",
    "test": "test",
    "testing": "test",
    "tst": "test",
}
_SUFFIXES: dict[str, Form] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype|<html|<\?xml|\{\\rtf)", re.IGNORECASE)
_KNOWN = "CSV, TSV, JSON, JSON Lines, Parquet, Arrow, or a directory of a Hugging Face dataset, ConvoKit or IEMOCAP"


@dataclass(frozen=True)
class SourceFile:
    """A file to read, or a directory that is read as one.

    Attributes:
        path: Where it lies.
        form: What it is.
        split: That its name states, or None.
    """

    path: Path
    form: Form
    split: str | None = None


def split_named(value: str) -> str | None:
    """``train``, ``dev`` or ``test`` where a word means one of them, else None."""
    return _SPLITS.get(value.strip().lower())


def form_named(path: Path) -> Form | None:
    """The form that a file's name states, if it states one."""
    return _SUFFIXES.get(path.suffix.lower())


def find(paths: Iterable[Path]) -> list[SourceFile]:
    """The sources among what was given, in order.

    Raises:
        UserError: For what is not there, or is of no known form.
    """
    found: list[SourceFile] = []
    for path in paths:
        if path.is_dir():
            found += _directory(path)
        elif path.is_file():
            found.append(_file(path))
        else:
            raise UserError("no such file or directory", where=str(path), fix="correct its path")
    seen: set[Path] = set()
    for source in found:
        place = source.path.resolve()
        if place in seen:
            raise UserError("is given twice", where=str(source.path), fix="name each file once")
        seen.add(place)
    if not found:
        raise UserError("nothing to import", where="selfemo data import", fix="name a file or a directory")
    return found


def _file(path: Path, split: str | None = None) -> SourceFile:
    with path.open("rb") as file:
        start = file.read(4096)
    if not start.strip():
        raise UserError("is empty", where=str(path), fix="leave it out")
    form: Form
    if start.startswith(b"PAR1"):
        form = "parquet"
    elif start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        form = "arrow"
    elif start.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\xd0\xcf\x11\xe0")):
        raise UserError("is an archive or a spreadsheet", where=str(path), fix="unpack it, or export it as CSV")
    elif _MARKUP.match(start):
        raise UserError("is a web page, XML or RTF", where=str(path), fix="fetch it again, or export it as CSV")
    elif start.startswith(b"version https://git-lfs"):
        raise UserError("is a pointer of Git LFS, not the file", where=str(path), fix="fetch it with: git lfs pull")
    elif path.suffix.lower() in _SUFFIXES:
        form = _SUFFIXES[path.suffix.lower()]
        if form in ("parquet", "arrow"):
            raise UserError(f"is no {form.capitalize()} file, for all its name", where=str(path), fix="fetch it again")
    else:
        raise UserError("is of no known form", where=str(path), fix=f"give {_KNOWN}")
    if form == "json" and _is_lines(path):
        form = "jsonl"
    return SourceFile(path, form, split or _split_of(path.name))


def _is_lines(path: Path) -> bool:
    """Whether a file called JSON has an object a line."""
    with path.open("rb") as file:
        first, second = file.readline(1 << 20).strip(), file.readline(1 << 20).strip()
    try:
        return isinstance(json.loads(first), dict) and second.startswith(b"{")
    except (ValueError, RecursionError):
        return False


def _split_of(name: str) -> str | None:
    """The split that a file's or a directory's name states, if it states one."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    found = {_SPLITS[word] for word in words if word in _SPLITS}
    return found.pop() if len(found) == 1 else None


def _directory(path: Path) -> Iterator[SourceFile]:
    if (path / "dataset_dict.json").is_file():
        for split in _listed(path / "dataset_dict.json", "splits"):
            yield from _saved(path / split, split_named(split))
    elif (path / "state.json").is_file():
        yield from _saved(path, None)
    elif (path / "utterances.jsonl").is_file():
        yield SourceFile(path, "convokit")
    elif any(path.glob("**/EmoEvaluation")):
        yield SourceFile(path, "iemocap")
    elif files := sorted(path.rglob("*.parquet")):
        parts = sorted({f.parent.relative_to(path).as_posix() for f in files if not _split_of(f.parent.name)})
        if len(parts) > 1:
            raise UserError(
                f"holds several parts: {', '.join(parts)}", where=str(path), fix="give the directory of one"
            )
        for file in files:
            inner = file.parent if file.parent != path else None
            yield _file(file, _split_of(file.name) or (_split_of(inner.name) if inner else None))
    elif files := sorted(f for f in path.iterdir() if f.suffix.lower() in _SUFFIXES and f.is_file()):
        # A text file beside tables is a note or a list of label names; alone it is what was meant.
        tables = [f for f in files if f.suffix.lower() != ".txt"]
        for file in tables or files:
            yield _file(file)
    else:
        raise UserError("holds nothing that can be imported", where=str(path), fix=f"give {_KNOWN}")


def _saved(path: Path, split: str | None) -> Iterator[SourceFile]:
    """The Arrow files of a dataset that ``save_to_disk`` wrote."""
    for name in _listed(path / "state.json", "_data_files"):
        file = path / name
        if not file.is_file():
            raise UserError(
                f"{name!r} is missing", where=str(path / "state.json"), fix="copy the whole directory of the dataset"
            )
        yield _file(file, split)


def _listed(path: Path, key: str) -> list[str]:
    """Names of files or directories beside a file of ``datasets``, which lists them.

    Raises:
        UserError: If it lists none, or one that lies elsewhere.
    """
    try:
        names = [item["filename"] if isinstance(item, dict) else item for item in json.loads(path.read_bytes())[key]]
    except OSError as error:
        raise UserError(error.strerror or "cannot be read", where=str(path), fix="copy the whole dataset") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"has no list {key!r}", where=str(path), fix="save the dataset again") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            raise UserError(
                f"{str(name)[:80]!r} is not a name beside it", where=str(path), fix="save the dataset again"
            )
    return names
