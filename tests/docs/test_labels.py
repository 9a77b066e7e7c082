"""The label files of docs/labels.md are label files."""

from __future__ import annotations

import re
from pathlib import Path

from selfemo.data.label_file import parse_text

TEXT = (Path(__file__).parents[2] / "docs" / "labels.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S)


def test_the_reference_says_all_keys_there_are() -> None:
    space = parse_text(BLOCKS[0], "docs/labels.md").space()
    assert (space.neutral, space.lookup("happy"), space.answers[-1]) == ("neutral", "joy", ("joy", "anger"))
    assert space.descriptions and space.affinity


def test_the_example_of_28_labels_has_28() -> None:
    space = parse_text(BLOCKS[1], "docs/labels.md").space()
    assert len(space) == 28
    assert len(space.answers) == 30
    assert space.lookup("Guilty") == "remorse"
