"""The tokens that a text has within a longer one, after the end of a line. Defined here.

Byte-level BPE gives them as it is. SentencePiece's kind begins every text with a space of its own, so it is given the
end of a line before the text, whose tokens are then left out.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class InnerTokens:
    """Encodes texts that stand after the end of a line.

    Args:
        tokenizer: Any; it is asked when the first text is.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> tuple[int, ...]:
        """The tokens of a text."""
        before, left_out = self._before
        return self._ids(before + text)[left_out:]

    def starts(self, text: str) -> list[int]:
        """For each token of a text, at which of its characters it begins."""
        before, left_out = self._before
        found = self._tokenizer(before + text, add_special_tokens=False, return_offsets_mapping=True)
        return [start - len(before) for start, _ in found["offset_mapping"]][left_out:]

    @cached_property
    def _before(self) -> tuple[str, int]:
        """What to put before a text, and how many tokens that has."""
        if self._ids("A:\nBe") == self._ids("A:\n") + self._ids("Be"):
            return "", 0
        return "\n", len(self._ids("\n"))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])
