"""Label spaces of any size in any script, as hypothesis draws them."""

from __future__ import annotations

import itertools

from hypothesis import assume
from hypothesis import strategies as st

from selfemo.data.labels import LabelSpace
from selfemo.data.scripts import fold
from selfemo.data.text import nfc
from selfemo.errors import UserError

ALPHABETS = (
    "abejoy",
    "ABéßİıǅ",
    "高兴生气不喜",
    "うれしいカナシー",
    "فرححزنغضب",
    "खुशीदुख्",
    "ดีใจเศร้า",
    "기쁨슬픔",
    "радостьгнев",
    "ខឹងរីករាយ",
    "שמחהכעס",
    "😀😡a",
)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A word or two of one script, now and then of two."""
    alphabet = draw(st.sampled_from(ALPHABETS)) + draw(st.sampled_from(["", "", "-'/ ", "abc 高"]))
    return " ".join(nfc(draw(st.text(alphabet, min_size=1, max_size=8))).split())


@st.composite
def spaces(draw: st.DrawFn, most: int = 12) -> LabelSpace:
    """A label space: labels that share beginnings, contain one another, and are of several scripts."""
    words = draw(st.lists(spellings(), min_size=1, max_size=most, unique_by=fold))
    pairs = list(itertools.pairwise(words))
    longer = [f"{a} {b}" for a, b in pairs] if draw(st.booleans()) else []
    inside = [a + b for a, b in pairs] if draw(st.booleans()) else []
    named = list({fold(w): nfc(w) for w in [*words, *longer, *inside]}.values())
    count = draw(st.integers(1, len(named)))
    labels, aliases = tuple(named[:count]), named[count:]
    meant = {alias: draw(st.sampled_from(labels)) for alias in aliases}
    size = min(3, count)
    several = st.lists(st.sampled_from(labels), min_size=size, max_size=size, unique=True).map(tuple)
    sets = draw(st.lists(several, max_size=3, unique=True)) if size > 1 else []
    try:
        return LabelSpace(
            "drawn",
            labels,
            meant,
            draw(st.none() | st.sampled_from(labels)),
            tuple(sets),
            descriptions={label: "what it is" for label in labels if draw(st.booleans())},
        )
    except UserError:
        assume(False)  # no letter, two that are one when folded: what a label may be, test_label_files says
        raise
