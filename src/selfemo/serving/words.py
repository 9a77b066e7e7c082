"""The text of a completion while its tokens come: what of it may be said already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BROKEN = "\ufffd"
"""What a decoder makes of a part of a character."""


class Words:
    """Never says part of a character, and nothing that may turn out to be the beginning of a stop string.

    Args:
        tokenizer: Of the model.
        stops: Texts at which it ends; they are not said.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self.tokenizer, self.stops = tokenizer, tuple(s for s in stops if s)
        self.text = ""
        self.said = 0
        self.stopped = False
        """Whether a stop string was found."""
        self._ids: list[int] = []
        self._first = self._read = 0  # the tokens before `read` are in the text; decoding begins at `first`

    def add(self, token: int, last: bool = False) -> str:
        """Take a token; what may be said now.

        Args:
            token: Its id.
            last: There is no other: all the rest is said.
        """
        if self.stopped:
            return ""
        self._ids.append(token)
        before = self._decode(self._ids[self._first : self._read])
        piece = self._decode(self._ids[self._first :])
        if last or not piece.endswith(BROKEN):
            old, self.text = len(self.text), self.text + piece[len(before) :]
            self._first, self._read = self._read, len(self._ids)
            self._look(old)
        end = len(self.text) if last or self.stopped else self._safe()
        said, self.said = self.text[self.said : end], max(self.said, end)
        return said

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""

    def _look(self, old: int) -> None:
        """Cut the text at the first stop string that ends in its new part."""
        found = (self.text.find(stop, max(0, old - len(stop) + 1)) for stop in self.stops)
        if places := [place for place in found if place >= 0]:
            self.text, self.stopped = self.text[: min(places)], True

    def _safe(self) -> int:
        """Up to where nothing is the beginning of a stop string."""
        held = 0
        for stop in self.stops:
            for length in range(min(len(stop) - 1, len(self.text)), held, -1):
                if self.text.endswith(stop[:length]):
                    held = length
                    break
        return len(self.text) - held
