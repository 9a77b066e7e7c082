"""Layouts of published corpora, known by their columns: what no guess could tell, such as whose emotion a label is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from selfemo.data.intake.columns import Columns, plain
from selfemo.data.label_file import shipped_space

Sample = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Layout:
    """A published form.

    Attributes:
        name: What it is called.
        has: Columns, in their plain spelling, that tell it from others.
        columns: What they mean, given the first rows; only the roles that it states count.
        roles: Which those are.
        fits: Whether rows of such columns are of this form.
    """

    name: str
    has: frozenset[str]
    columns: Callable[[Sample], Columns]
    roles: frozenset[str]
    fits: Callable[[Sample], bool] = lambda _: True


def _named(sample: Sample, name: str) -> str:
    """A column as the file spells it."""
    return next((column for row in sample for column in row if plain(column) == name), "")


def _empathetic(sample: Sample) -> Columns:
    at = {name: _named(sample, name) for name in ("convid", "utteranceidx", "context", "speakeridx", "utterance")}
    return Columns(
        "EmpatheticDialogues",
        text=at["utterance"],
        speaker=at["speakeridx"],
        dialogue=(at["convid"],),
        turn=at["utteranceidx"],
        label=(at["context"],),
        label_of="first",
        comma="_comma_",
    )


def _esconv(sample: Sample) -> Columns:
    turns = _named(sample, "dialog") or _named(sample, "dialogue")
    said = next((turn for row in sample for turn in row.get(turns) or () if isinstance(turn, dict)), {})
    seeker = "usr" if any(t.get("speaker") == "usr" for r in sample for t in r.get(turns) or ()) else "seeker"
    return Columns(
        "ESConv",
        turns=turns,
        text="content" if "content" in said else "text",
        speaker="speaker",
        label=(_named(sample, "emotiontype"),),
        label_of=seeker,
    )


def _dailydialog(sample: Sample) -> Columns:
    turns = _named(sample, "dialog") or _named(sample, "utterances")
    label = _named(sample, "emotion") or _named(sample, "emotions")
    return Columns("DailyDialog", turns=turns, text=turns, label=(label,), names=shipped_space("dailydialog").labels)


def _goemotions(sample: Sample) -> Columns:
    first = list(sample[0])
    labels = tuple(name for name in first[first.index(_named(sample, "exampleveryunclear")) + 1 :])
    return Columns(
        "GoEmotions (raw)",
        text=_named(sample, "text"),
        dialogue=(_named(sample, "id"),),
        rater=_named(sample, "raterid"),
        label=labels,
    )


def _simplified(_: Sample) -> Columns:
    return Columns("GoEmotions", text="1", dialogue=("3",), label=("2",), unique=True)


def _is_simplified(sample: Sample) -> bool:
    """Whether three columns without a header are text, numbers of labels and an id."""
    ids = [str(row.get("3")) for row in sample]
    numbered = all(re.fullmatch(r"\d+(,\d+)*", str(row.get("2"))) for row in sample)
    return numbered and all(re.fullmatch(r"e[a-z0-9]{4,7}", name) for name in ids)


def _meld(sample: Sample) -> Columns:
    at = {n: _named(sample, n) for n in ("utterance", "speaker", "emotion", "dialogueid", "utteranceid")}
    return Columns(
        "MELD",
        text=at["utterance"],
        speaker=at["speaker"],
        dialogue=(at["dialogueid"],),
        turn=at["utteranceid"],
        label=(at["emotion"],),
    )


LAYOUTS = (
    Layout(
        "EmpatheticDialogues",
        frozenset({"convid", "utteranceidx", "context", "prompt", "speakeridx", "utterance"}),
        _empathetic,
        frozenset({"text", "speaker", "dialogue", "turn", "label", "label_of", "votes", "rater", "time"}),
    ),
    Layout(
        "GoEmotions (raw)",
        frozenset({"text", "id", "raterid", "exampleveryunclear"}),
        _goemotions,
        frozenset({"text", "speaker", "dialogue", "turn", "label", "rater", "time", "votes"}),
    ),
    Layout(
        "GoEmotions",
        frozenset({"1", "2", "3"}),
        _simplified,
        frozenset({"text", "speaker", "dialogue", "turn", "label", "rater", "time", "votes"}),
        _is_simplified,
    ),
    Layout(
        "ESConv",
        frozenset({"emotiontype", "problemtype", "dialog"}),
        _esconv,
        frozenset({"turns", "text", "speaker", "label", "label_of", "votes", "rater", "time", "turn"}),
    ),
    Layout(
        "DailyDialog",
        frozenset({"dialog", "act", "emotion"}),
        _dailydialog,
        frozenset({"turns", "text", "label", "votes", "rater", "time", "turn"}),
    ),
    Layout(
        "DailyDialog",
        frozenset({"utterances", "acts", "emotions"}),
        _dailydialog,
        frozenset({"turns", "text", "label", "votes", "rater", "time", "turn"}),
    ),
    Layout(
        "MELD",
        frozenset({"utterance", "speaker", "emotion", "sentiment", "dialogueid", "utteranceid"}),
        _meld,
        frozenset({"text", "speaker", "dialogue", "turn", "label", "votes", "rater", "time", "split"}),
    ),
)


def recognise(sample: Sample) -> tuple[Columns, frozenset[str]]:
    """The columns of a known layout and the roles that it states; it states none if it is no known one."""
    names = {plain(name) for row in sample for name in row}
    for layout in LAYOUTS:
        if layout.has <= names and layout.fits(sample):
            return layout.columns(sample), layout.roles
    return Columns(), frozenset()


def of_form(form: str) -> tuple[Columns, frozenset[str]]:
    """The columns of a directory that is read as one source: ConvoKit's and IEMOCAP's."""
    if form == "convokit":
        columns = Columns("ConvoKit", text="text", speaker="speaker", dialogue=("conversation_id",), time="timestamp")
        return columns, frozenset({"text", "speaker", "dialogue", "turn", "time"})
    if form == "iemocap":
        columns = Columns(
            "IEMOCAP", text="text", speaker="speaker", dialogue=("dialogue",), label=("emotion",), votes=("votes",)
        )
        return columns, frozenset({"text", "speaker", "dialogue", "turn", "time", "label", "votes", "rater", "split"})
    return Columns(), frozenset()
