"""What the labels of imported rows are called: as they are found, by a list of names, or by a label file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

MOST = 64
"""Labels of a space."""
LONGEST = 60
PARTING = ',;:|=~"[]{}<>，、；：｜\\`'
"""What parts labels in prompts and answers: no label has it."""


class Naming:
    """Names labels, and keeps one spelling of each.

    Args:
        names: Of labels that are numbers, in order from 0.
        words: Every spelling that counts, lower case, to a label; empty: whatever is found is a label.
    """

    def __init__(self, names: Sequence[str] = (), words: Mapping[str, str] | None = None) -> None:
        self.names, self.words = tuple(names), {fold(word): label for word, label in (words or {}).items()}
        self._spelt: dict[str, str] = {}

    def name(self, found: str) -> str:
        """The label that a spelling means; of two that differ in case, the one that came first.

        Raises:
            ValueError: If it means none, or can be none.
        """
        if self.names and found.lstrip("-").isdecimal():
            if not 0 <= int(found) < len(self.names):
                raise ValueError(f"label {found[:40]} is not 0..{len(self.names) - 1}")
            found = self.names[int(found)]
        folded = fold(found)
        if self.words:
            if folded not in self.words:
                raise ValueError(f"{found[:40]!r} is no label of the label file, and no alias")
            return self.words[folded]
        if folded not in self._spelt:
            if len(found) > LONGEST or any(c in PARTING or not c.isprintable() for c in found):
                raise ValueError(f"{found[:40]!r} can be no label: give --labels FILE that has it as an alias of one")
            self._spelt[folded] = found
        return self._spelt[folded]


def fold(word: str) -> str:
    """A spelling without case and needless space."""
    return " ".join(word.split()).casefold()


def in_order(counts: Counter[str], votes: Counter[str]) -> list[str]:
    """Labels by how often they are gold, then by votes, then by name."""
    return sorted({*counts, *votes}, key=lambda label: (-counts[label], -votes[label], label))
