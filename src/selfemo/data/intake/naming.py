"""What the labels of imported rows are called: as they are found, by a list of names, or by a label file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfemo.data.labels import BadLabels, LabelSpace
from selfemo.data.scripts import fold


class Naming:
    """Names labels, and keeps one spelling of each.

    Args:
        names: Of labels that are numbers, in order from 0.
        space: The labels there are, with their aliases; None: whatever is found is one.
    """

    def __init__(self, names: Sequence[str] = (), space: LabelSpace | None = None) -> None:
        self.names, self.space = tuple(names), space
        self._spelt: dict[str, str] = {}

    def name(self, found: str) -> str:
        """The label that a spelling means; of two that differ in case, the one that came first.

        Raises:
            ValueError: If it means none, or can be none.
        """
        if label := self._spelt.get(found):
            return label
        said = " ".join(found.split())
        if self.names and said.lstrip("-").isdecimal():
            if not 0 <= int(said) < len(self.names):
                raise ValueError(f"label {said[:40]} is not 0..{len(self.names) - 1}")
            said = self.names[int(said)]
        if self.space is not None:
            label = self.space.words.get(fold(said))
            if label is None:
                raise ValueError(f"{found[:40]!r} is no label of the label file, and no alias")
        else:
            label = self._spelt.get(fold(said))
            if label is None:
                try:
                    LabelSpace("", (said,))
                except BadLabels as error:
                    raise ValueError(f"{error.message}: give --labels FILE with it as an alias of a label") from None
                label = self._spelt[fold(said)] = said
        self._spelt[found] = label
        return label


def in_order(counts: Counter[str], votes: Counter[str]) -> list[str]:
    """Labels by how often they are gold, then by votes, then by name."""
    return sorted({*counts, *votes}, key=lambda label: (-counts[label], -votes[label], label))
