"""Text from elsewhere: its lines, and its one normal form. Corpora, models and clients write it."""

from __future__ import annotations

import io
import unicodedata

_MOST_MARKS = 30
"""Combining marks that one letter keeps: the bound of Unicode's Stream-Safe Text Format (UAX #15, section 13)."""


def lines(text: str) -> list[str]:
    r"""The lines of a text, without their ends: ``\n``, ``\r\n`` and ``\r`` end one, nothing else does.

    ``str.splitlines`` also cuts at U+000B, U+000C, U+001C to U+001E, U+0085, U+2028 and U+2029. Those stand inside
    what people say: they come with text that was pasted from web pages, Word or Excel.
    """
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def nfc(text: str) -> str:
    """Unicode's composed normal form, in linear time.

    Putting a run of combining marks in order takes time that grows with its square, so the marks of one letter
    beyond the first 30 are left out; no writing system stacks as many.
    """
    if text.isascii():
        return text
    kept, run = [], 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run <= _MOST_MARKS:
            kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))
