"""The text of a completion while its tokens come: whole characters, and no stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from selfemo.serving.words import Words


class Bytes:
    """A tokenizer whose tokens are bytes, as a byte-level one's may be."""

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return bytes(ids).decode(errors="replace")


texts = st.text(alphabet="ab é€😀\n", max_size=30)


@given(texts.filter(bool), st.lists(st.text(alphabet="ab é😀", min_size=1, max_size=4), max_size=4))
def test_what_is_said_is_the_text_up_to_the_first_stop_string(text: str, stops: list[str]) -> None:
    words, said = Words(Bytes(), stops), ""
    tokens = list(text.encode())
    for i, token in enumerate(tokens):
        more = words.add(token, i == len(tokens) - 1)
        assert "\ufffd" not in more
        said += more
        assert not any(stop in said for stop in stops)
        if words.stopped:
            break
    # The first stop string that is complete ends it, as when it is looked for token by token.
    ends = [i for i in range(1, len(text) + 1) if any(text[:i].endswith(stop) for stop in stops)]
    seen = text[: ends[0]] if ends else text
    cut = min((seen.index(stop) for stop in stops if stop in seen), default=len(text))
    assert said == text[:cut]
    assert words.stopped == bool(ends)


def test_nothing_that_may_begin_a_stop_string_is_said_before_it_is_known() -> None:
    words = Words(Bytes(), ["END"])
    assert [words.add(b) for b in b"an EN"] == ["a", "n", " ", "", ""]
    assert words.add(ord("E")) == "EN"
    assert words.add(ord("x"), last=True) == "Ex"


def test_a_character_that_never_becomes_whole_is_said_at_the_end() -> None:
    words = Words(Bytes())
    assert words.add("é".encode()[0]) == ""
    assert words.add("😀".encode()[0], last=True) == "\ufffd\ufffd"
