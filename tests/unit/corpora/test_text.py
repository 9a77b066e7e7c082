"""How the text of every corpus is cut into lines and cleaned."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.corpora.emorynlp import speakers
from selfemo.data.corpora.rows import clean
from selfemo.data.text import lines, nfc


@given(st.text(alphabet="e\u0301\u0316x \uac00\u1100"))
def test_text_is_composed_as_unicode_says(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text)


def test_marks_beyond_what_any_writing_stacks_are_left_out() -> None:
    assert len(clean("e" + "\u0301\u0316" * 100_000)) == 30  # the first goes into the letter
    assert speakers("['" + "\\'" * 100_000) == "Someone"


@given(st.text())
def test_lines_are_those_of_a_text_file(text: str) -> None:
    assert lines(text) == re.split(r"\r\n|\r|\n", text)[: -1 if re.search(r"[\r\n]\Z", text) or not text else None]
