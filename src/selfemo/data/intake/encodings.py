"""The encoding of a text file: stated by its first bytes, UTF-8 where all of it is, else charset-normalizer's guess."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selfemo.data.needs import needed
from selfemo.errors import UserError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHUNK = 1 << 20
_SAMPLE = 1 << 18
"""Bytes of lines that are not ASCII: what a guess is made of."""


@dataclass(frozen=True)
class Encoding:
    """How a file's bytes become text.

    Attributes:
        name: Of Python's codec.
        sure: Whether nothing else it could be reads differently.
        others: What else it could be.
    """

    name: str
    sure: bool = True
    others: tuple[str, ...] = ()


UTF8 = Encoding("utf-8")


def find_encoding(path: Path) -> Encoding:
    """The encoding of a file; all of it is looked at, a piece at a time.

    Raises:
        UserError: If it is no text in any encoding.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    for mark, name in _MARKS:
        if start.startswith(mark):
            return Encoding(name)
    if _decodes(path, "utf-8") is None:
        return Encoding("utf-8")
    return _guess(path, start)


def check(path: Path, encoding: str) -> None:
    """Make sure that a file is text in an encoding, without NUL.

    Raises:
        UserError: Names the first place where it is not, and what to do.
    """
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # raises for base64 and the like, too
        at = _decodes(path, encoding)
    except LookupError:
        raise UserError(f"no encoding {encoding!r}", where="--encoding", fix="try utf-8, cp1252 or mac-roman") from None
    if at is not None:
        raise UserError(
            f"not {encoding}: the byte at {at} stands for nothing", where=str(path), fix="give another --encoding"
        )
    row = 1
    for piece in pieces(path, encoding):
        if "\0" in piece:
            row += piece[: piece.index("\0")].count("\n")
            raise UserError(
                "holds a NUL character",
                where=f"{path}: line {row}",
                fix="remove it; if every other byte is one, the file is UTF-16: give --encoding utf-16-le",
            )
        row += piece.count("\n")


def sample_line(path: Path, encoding: str) -> str:
    """A line of a file that shows how an encoding reads it: the first that is not ASCII."""
    line = next((line for line in _telling(path).split(b"\n") if line), b"")
    return line.decode(encoding, "replace").strip()[:120]


def pieces(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file that decodes, a piece at a time."""
    with path.open(encoding=encoding, newline="") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _decodes(path: Path, encoding: str) -> int | None:
    """Where a file does not decode, counted in bytes; None if all of it does."""
    decoder, at = codecs.getincrementaldecoder(encoding)(), 0
    with path.open("rb") as file:
        while True:
            piece = file.read(_CHUNK)
            before = at - len(decoder.getstate()[0])
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                return before + error.start
            except UnicodeError:
                return before
            if not piece:
                return None
            at += len(piece)


def _guess(path: Path, start: bytes) -> Encoding:
    normalizer = needed("charset_normalizer")
    wide = ["utf_16_le", "utf_16_be"] if b"\0" in start else None
    sample = start[: len(start) // 4 * 4] if wide else _telling(path)
    found = [match.encoding for match in normalizer.from_bytes(sample, cp_isolation=wide)]
    common = [] if wide else ["cp1252", "mac_roman"]
    names = [name for name in dict.fromkeys([*found[:4], *common, *found[4:]]) if _decodes(path, name) is None]
    if not names:
        raise UserError(
            "is not text in any known encoding", where=str(path), fix="give its --encoding, or export it anew"
        )
    reads = {sample.decode(name, "replace"): name for name in reversed(names)}  # one name for each way to read it
    names = [name for name in names if name in reads.values()]
    others = tuple(names[1:8])
    # Any bytes are text in most encodings of one byte a character: which of them, only a reader can tell.
    return Encoding(names[0], wide is not None and not others, others)


def _telling(path: Path) -> bytes:
    """The lines of a file that are not ASCII, as many as a guess needs."""
    sample = bytearray()
    with path.open("rb") as file:
        while len(sample) < _SAMPLE and (line := file.readline(_CHUNK)):
            if not line.isascii():
                sample += line
    return bytes(sample)
