"""What comes back from what is served: written by many, read whole, merged as gold, and removed for its age or on
request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.feedback import (
    Correction,
    Feedback,
    Reading,
    collected_id,
    corrected,
    is_collected,
    last,
)
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.places import temporary
from selfemo.store.s3 import S3Backend
from tests.unit.s3.server import Server

SPACE = LabelSpace("talk", ("calm", "joy", "anger"), aliases={"happy": "joy"})
NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)

words = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text("abcdef", min_size=1, max_size=3)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))
conversations = st.builds(
    lambda key, said: Dialogue(
        id=collected_id("talk", key),
        corpus="talk",
        split="train",
        turns=tuple(Utterance(speaker="AB"[n % 2], text=text) for n, text in enumerate(said)),
    ),
    names,
    st.lists(words, min_size=1, max_size=3),
)
corrections = st.builds(
    Correction,
    dialogue=names.map(lambda key: collected_id("talk", key)),
    turn=st.integers(0, 3),
    labels=st.lists(st.sampled_from(SPACE.labels), max_size=2, unique=True).map(tuple),
    who=names,
    when=moments,
    source=st.sampled_from(["feedback", "review"]),
)
many = st.lists(corrections, max_size=12)


def conversation(key: str, *said: str) -> Dialogue:
    turns = tuple(Utterance(speaker="AB"[n % 2], text=text) for n, text in enumerate(said or ("Hello.", "Hello!")))
    return Dialogue(id=collected_id("talk", key), corpus="talk", split="train", turns=turns)


def correction(key: str, turn: int, *labels: str, day: int = 1, who: str = "ada") -> Correction:
    when = datetime(2026, 11, day, 12, tzinfo=UTC)
    at = key if "/" in key else collected_id("talk", key)
    return Correction(dialogue=at, turn=turn, labels=labels, who=who, when=when, source="feedback")


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feedback]:
    """A place of each kind."""
    if request.param == "file":
        yield Feedback.at(str(tmp_path / "came back"))
        return
    server = Server()
    yield Feedback.at("s3://served/talk", s3=S3Backend(server.uri, ("key", "secret")))
    server.stop()


def test_what_is_written_is_read_by_kind_and_day(place: Feedback) -> None:
    reading = Reading(
        dialogue=collected_id("talk", "a"), turn=1, labels=("joy",), chances={"joy": 0.75, "calm": 0.25}, when=NOW
    )
    uri = place.add_conversations([conversation("a"), conversation("b", "Où es-tu ?\u2028")], NOW)
    assert uri.startswith(f"{place.uri}/conversations/2026-11-27/")
    place.add_readings([reading], NOW)
    place.add_corrections([correction("a", 1, "joy")], NOW)
    assert list(place.conversations()) == [conversation("a"), conversation("b", "Où es-tu ?\u2028")]
    assert list(place.readings()) == [reading]
    assert place.corrections() == [correction("a", 1, "joy")]
    assert [(p.kind, p.day) for p in place.pieces("corrections")] == [("corrections", date(2026, 11, 27))]


def test_rows_have_the_form_that_is_written_down(place: Feedback) -> None:
    uri = place.add_corrections([correction("a", 1, "joy")], NOW)
    assert json.loads(place.backend.read(uri) or b"") == {
        "schema": "selfemo.correction/1",
        "dialogue": "talk/collected/a",
        "turn": 1,
        "labels": ["joy"],
        "who": "ada",
        "when": "2026-11-01T12:00:00Z",
        "source": "feedback",
    }


def test_the_same_again_is_there_once(place: Feedback) -> None:
    for _ in range(2):
        place.add_conversations([conversation("a")], NOW)
        place.add_corrections([correction("a", 1, "joy")], NOW)
    assert len(place.pieces()) == 2
    place.add_conversations([conversation("a"), conversation("b")], NOW)  # by another writer
    assert [d.id for d in place.conversations()].count(collected_id("talk", "a")) == 1


def test_the_newest_day_comes_first_and_nothing_comes_of_no_rows(place: Feedback) -> None:
    for day, key in ((3, "c"), (1, "a"), (2, "b")):
        place.add_conversations([conversation(key)], datetime(2026, 11, day, tzinfo=UTC))
    assert [d.id[-1] for d in place.conversations()] == ["c", "b", "a"]
    assert place.add_corrections([]) == "" and place.corrections() == []


def test_of_a_conversation_that_has_grown_the_longest_counts(place: Feedback) -> None:
    for day, said in ((1, "One."), (2, "Three of them."), (2, "Two."), (2, "Two more.")):
        count = {"One.": 1, "Three of them.": 3}.get(said, 2)
        place.add_conversations([conversation("a", *[said] * count)], datetime(2026, 11, day, tzinfo=UTC))
    (found,) = place.conversations()
    assert [turn.text for turn in found.turns] == ["Three of them."] * 3


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    place = Feedback.at(str(tmp_path))
    place.add_conversations([conversation("a")], NOW)
    for name in ("README", "conversations/notes.jsonl", "conversations/2026-13-45/x.jsonl", "readings/2026-01-01/.x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not ours")
    assert len(place.pieces()) == 1
    place.expire(0, NOW + timedelta(days=400))
    assert (tmp_path / "README").exists() and (tmp_path / "conversations/2026-13-45/x.jsonl").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "JSON"),
        ("[]", "schema"),
        ('{"dialogue": "a"}', "schema"),
        ({"turn": -1}, "turn"),
        ({"when": "2026-01-01"}, "when"),
        ({"when": "2026-01-01T00:00:00"}, "when"),
        ({"who": ""}, "who"),
        ({"source": "hearsay"}, "source"),
        ({"text": "what was said"}, "text"),
        ({"dialogue": "\ud800"}, "dialogue"),
    ],
)
def test_a_line_that_is_no_row_is_named_by_file_and_line(
    tmp_path: Path, line: str | dict[str, object], words: str
) -> None:
    place = Feedback.at(str(tmp_path))
    file = tmp_path / "corrections/2026-11-27/bad.jsonl"
    file.parent.mkdir(parents=True)
    good = correction("a", 0, "joy").model_dump(mode="json", by_alias=True)
    bad = line if isinstance(line, str) else json.dumps(good | line)
    file.write_text(f"{json.dumps(good)}\n{bad}\n")
    with pytest.raises(UserError, match=words) as refused:
        place.corrections()
    assert str(refused.value.where).endswith("bad.jsonl:2")


def test_a_place_is_named_as_a_directory_or_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHERE", "a b")
    Feedback.at("./a b").add_conversations([conversation("a")], NOW)
    for path in ("a b", "$WHERE/", f"{tmp_path}/a b", f"file://{tmp_path}/a b", (tmp_path / "a b").as_uri()):
        assert [d.id for d in Feedback.at(path).conversations()] == [collected_id("talk", "a")]


@pytest.mark.parametrize("path", ["s3://", "http://host/x", "file://host/x", "$NO_SUCH_VARIABLE/x"])
def test_what_names_no_place_is_refused(path: str) -> None:
    with pytest.raises(UserError, match="feedback"):
        Feedback.at(path)


@given(many, st.randoms(use_true_random=False))
def test_the_last_correction_of_a_turn_counts_whatever_the_order(rows: list[Correction], random: Random) -> None:
    mixed = list(rows)
    random.shuffle(mixed)
    assert last(mixed) == last(rows)
    for row in last(rows):
        same = [r for r in rows if (r.dialogue, r.turn) == (row.dialogue, row.turn)]
        assert row.labels and row.when == max(r.when for r in same)
    for at in {(r.dialogue, r.turn) for r in rows} - {(r.dialogue, r.turn) for r in last(rows)}:
        same = [r for r in rows if (r.dialogue, r.turn) == at]
        newest = max(r.when for r in same)
        assert not any(r.labels for r in same if r.when == newest)  # it was taken back


@given(st.lists(conversations, max_size=6, unique_by=lambda d: d.id), many)
def test_corrections_become_gold_and_nothing_else_changes(dialogues: list[Dialogue], rows: list[Correction]) -> None:
    made = corrected(dialogues, rows, {"talk": SPACE})
    gold = {(r.dialogue, r.turn): r.labels for r in made.used}
    assert [d.hidden() for d in made.dialogues] == dialogues
    for dialogue in made.dialogues:
        for number, turn in enumerate(dialogue.turns):
            assert turn.gold == gold.get((dialogue.id, number))
    assert sorted([*made.used, *(row for row, _ in made.unused)], key=repr) == sorted(last(rows), key=repr)


def test_gold_is_written_as_the_space_writes_it_and_what_it_does_not_know_is_left() -> None:
    other = conversation("a").model_copy(update={"corpus": "other"})
    rows = [
        correction("a", 0, "Happy", "joy", "anger"),
        correction("a", 1, "joy", "despair"),
        correction("a", 7, "joy"),
    ]
    made = corrected([conversation("a")], [*rows, correction("gone", 0, "joy")], {"talk": SPACE})
    assert [turn.gold for turn in made.dialogues[0].turns] == [("joy", "anger"), None]
    assert [why.partition(":")[0] for _, why in made.unused] == [
        "not labels of talk",
        "the dialogue has 2 turns",
        "the dialogue is not there",
    ]
    assert len(corrected([other], rows, {"talk": SPACE}).used) == 0


@given(
    st.lists(st.tuples(conversations, moments), max_size=6, unique_by=lambda pair: pair[0].id),
    st.lists(st.tuples(corrections, moments), max_size=6),
    st.sets(names.map(lambda key: collected_id("talk", key))),
)
def test_who_is_erased_is_nowhere_and_all_others_stay(
    said: list[tuple[Dialogue, datetime]], rows: list[tuple[Correction, datetime]], asked: set[str]
) -> None:
    with temporary("test") as directory:
        place = Feedback.at(str(directory / "feedback"))
        place.add_conversations([d for d, _ in said], NOW)
        for row, when in rows:
            place.add_corrections([row], when)
            place.add_readings([Reading(dialogue=row.dialogue, turn=0, labels=("joy",), when=when)], when)
        before, days = list(place.conversations()), {(p.kind, p.day) for p in place.pieces()}
        effective = place.corrections()
        gone = place.erase(asked)
        text = b"".join(file.read_bytes() for file in directory.rglob("*.jsonl"))
        assert not any(json.dumps(one).encode() in text for one in asked)
        assert list(place.conversations()) == [d for d in before if d.id not in asked]
        assert place.corrections() == [row for row in effective if row.dialogue not in asked]
        assert {(p.kind, p.day) for p in place.pieces()} <= days  # what stays is as old as it was
        assert gone["conversations"] == sum(d.id in asked for d in before)
        assert not place.erase(asked)


@given(st.lists(st.tuples(conversations, moments), max_size=6, unique_by=lambda pair: pair[0].id), st.integers(0, 400))
def test_what_is_older_goes_and_what_is_not_stays(said: list[tuple[Dialogue, datetime]], days: int) -> None:
    now = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    with temporary("test") as directory:
        place = Feedback.at(str(directory / "feedback"))
        for dialogue, when in said:
            place.add_conversations([dialogue], when)
        gone = place.expire(days, now)
        stay = {d.id for d, when in said if (now.date() - when.date()).days <= days}
        assert {d.id for d in place.conversations()} == stay
        assert gone["conversations"] == len(said) - len(stay)


def test_corrections_go_with_their_conversation_and_those_of_corpora_stay(place: Feedback) -> None:
    old, new = datetime(2026, 10, 1, tzinfo=UTC), NOW
    place.add_conversations([conversation("old")], old)
    place.add_conversations([conversation("kept")], new)
    place.add_corrections(
        [correction("old", 0, "joy"), correction("kept", 0, "joy"), correction("meld/train/1", 0, "joy")], old
    )
    place.expire(30, NOW)
    assert [row.dialogue for row in place.corrections()] == ["meld/train/1", "talk/collected/kept"]
    assert not is_collected("meld/train/1") and is_collected("talk/collected/kept") and not is_collected("collected")


def test_where_nothing_was_collected_yet_it_is_said(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from selfemo.cli import main

    place = tmp_path / "not-there"
    said = CliRunner().invoke(main, ["feedback", "show", "--place", str(place)]).stdout
    assert said.startswith(f"nothing is there yet: {place.as_uri()}")
