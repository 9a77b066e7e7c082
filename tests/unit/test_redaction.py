"""What the built-in finders mask, what they leave, and what they are known to miss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.redaction import Command, Patterns
from selfemo.errors import UserError

FAKE_KEY = "AKIA" + "IOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("call +49 30 1234567 now", "call [NUMBER] now"),
        ("call (212) 555-0199.", "call [NUMBER]."),
        ("card 4111 1111 1111 1111, thanks", "card [NUMBER], thanks"),
        ("pay to DE89 3704 0044 0532 0130 00!", "pay to [NUMBER]!"),
        ("my SSN is 078-05-1120", "my SSN is [NUMBER]"),
        ("order 2026110712", "order [NUMBER]"),
        ("mail a_b+c@mail.co.uk, or jürgen@müller.example.", "mail [EMAIL], or [EMAIL]."),
        ("from 192.168.0.1 or fe80::1", "from [ADDRESS] or [ADDRESS]"),
        ("at 12 Baker Street, London NW1 6XE today", "at [ADDRESS] today"),
        ("to 1600 Amphitheatre Parkway, Mountain View, CA 94043", "to [ADDRESS]"),
        (f"use {FAKE_KEY}, quick", "use [KEY], quick"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[KEY]"),
        ("password: hunter2 and go", "password: [KEY] and go"),
        ("das Passwort ist geheim99", "das Passwort ist [KEY]"),
    ],
)
def test_what_tells_who_somebody_is_becomes_its_kind(text: str, masked: str) -> None:
    assert Patterns()([text]).texts == [masked]


@pytest.mark.parametrize(
    "text",
    [
        "I am 34, and it is 10:30 on 12/03/2024.",
        "Room 101, 5 of 10, 3.14 and 1,000,000 people",
        "The password is wrong, and the secret is love.",
        "supercalifragilisticexpialidocious internationalization",
        "well... @ home :: yes",
        "",
    ],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert Patterns()([text]).texts == [text]


def test_names_are_masked_where_they_are_known_and_missed_where_not() -> None:
    done = Patterns()(["Anna met Dr. Schmidt and Joanna", "Anna?"], [["Anna Schmidt"], []])
    assert done.texts == ["[NAME] met Dr. [NAME] and Joanna", "Anna?"]
    assert done.counts == {"NAME": 2}


def test_telephone_numbers_of_a_country_want_its_name() -> None:
    assert Patterns(("FR",)).ready()(["01 23 45 67 89"]).texts == ["[NUMBER]"]
    with pytest.raises(UserError, match="no country 'XX'"):
        Patterns(("XX",)).ready()


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_text_comes_back_and_masking_twice_is_masking_once(texts: list[str]) -> None:
    once = Patterns()(texts)
    assert len(once.texts) == len(texts)
    assert Patterns()(once.texts).texts == once.texts


def test_a_command_gets_every_text_whole() -> None:
    texts = ["two\nlines", "\u2028", '"quoted"', "", "ü"]
    assert Command("cat")(texts).texts == texts
