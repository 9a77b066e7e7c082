"""Files of corpora as people have them: where the archives put them, and what their bytes say."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from selfemo.errors import UserError

_UNLIKELY = re.compile(
    "[a-z\xdf-\xf6\xf8-\xff][\xc0-\xd6\xd8-\xde\u0160\u017d\u0152\u0178]"  # a capital after a small letter: lateÉ
    "|[\xc0-\xd6\xd8-\xf6\xf8-\xff\u0160\u0161\u017d\u017e\u0152\u0153\u0178]{3}"  # no plain letter for three: Ãäå
    r"|(?<!\w)[\xc1-\xd6\xd8-\xde\u0160\u017d\u0152\u0178](?!\w)"  # a capital alone (but À): Ñ for a dash
    r"|[^\W\d_][\xa1-\xa9\xab\xac\xae-\xb3\xb5\xb6\xb8\xb9\xbb-\xbf\xd7\xf7][^\W\d_]"  # a sign within a word: lu»ou
)
"""What no English text holds, and what other encodings look like where they are read as Windows-1252."""


def find(path: Path, name: str, *folders: str) -> Path:
    """A corpus's file in the directory of a copy, or in the folders that its archive or repository keeps it in.

    Args:
        path: The directory.
        name: The file's.
        folders: Where else it may lie, below the directory; the first that holds it counts.

    Returns:
        Its path; that in the directory itself if it is nowhere.
    """
    places = (path / name, *(path / folder / name for folder in folders))
    return next((file for file in places if file.is_file()), places[0])


def read_text(path: Path) -> str:
    """A file of an English corpus: UTF-16 where its mark says so, else UTF-8, or Windows-1252 where it is not.

    Raises:
        UserError: If there is no such file, or it is text in another encoding.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such file", where=str(path), fix="give the corpus's directory with --path") from None
    except OSError as error:
        raise UserError(error.strerror or str(error), where=str(path)) from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and b"\0\0" not in data[:4]:
        text = data.decode("utf-16", "replace")
    else:
        text = _eight_bits(path, data)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError("holds a NUL character", where=f"{path}:{line}", fix="is it UTF-16? Save it as UTF-8")
    return text


def _eight_bits(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("cp1252")
        at = found.start() if (found := _UNLIKELY.search(text)) else None
    except UnicodeDecodeError as error:
        text, at = data.decode("cp1252", "replace"), error.start
    if at is None:
        return text
    raise UserError(
        f"neither UTF-8 nor Windows-1252: {text[max(0, at - 10) : at + 10]!r}",
        where=f"{path}:{text.count(chr(10), 0, at) + 1}",
        fix="save it as UTF-8 with a program that shows it rightly; is it Mac Roman?",
    )
