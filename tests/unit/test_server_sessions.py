"""How long a server remembers a conversation, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from selfemo.data.dialogue import Utterance
from selfemo.serving.sessions import SessionBounds, Sessions, space_of


def turns(*texts: str) -> list[Utterance]:
    return [Utterance(speaker="A", text=text) for text in texts]


def last_two(history: Sequence[Utterance]) -> Sequence[Utterance]:
    return history[-2:]


def test_one_that_was_not_used_for_long_is_forgotten() -> None:
    now = [0.0]
    sessions = Sessions(last_two, SessionBounds(seconds=10), lambda: now[0])
    sessions.remember("", sessions.find("", "old", None), turns("a"))
    now[0] = 8
    sessions.remember("", sessions.find("", "new", None), turns("b"))
    now[0] = 12
    assert len(sessions) == 1
    assert sessions.find("", "old", 0).turns == []
    assert [t.text for t in sessions.find("", "new", 1).turns] == ["b"]


def test_a_name_that_the_server_gave_is_known_or_refused() -> None:
    sessions = Sessions(last_two)
    made = sessions.find("", None, None)
    with pytest.raises(HTTPException, match="begin another"):
        sessions.find("", made.name, None)  # nothing was said in it yet
    sessions.remember("", made, turns("a"))
    assert sessions.find("", made.name, 1) is made
    with pytest.raises(HTTPException, match="holds 1 turns, not 2"):
        sessions.find("", made.name, 2)
    with pytest.raises(HTTPException, match="begin another"):
        sessions.find("other", made.name, None)


def test_what_is_taken_back_was_not_said_unless_it_went_on() -> None:
    sessions = Sessions(last_two)
    one = sessions.find("", "one", None)
    sessions.remember("", one, turns("a"))
    sessions.remember("", one, turns("b"))()
    assert [t.text for t in sessions.find("", "one", 1).turns] == ["a"]
    undo = sessions.remember("", one, turns("c"))
    sessions.remember("", one, turns("d"))
    undo()
    assert [t.text for t in sessions.find("", "one", 3).turns] == ["c", "d"]
    sessions.remember("", sessions.find("", "two", None), turns("x"))()
    assert len(sessions) == 1


def test_a_session_may_be_kept_while_all_of_its_requests_agree() -> None:
    sessions = Sessions(last_two)
    one = sessions.find("", "one", None)
    sessions.remember("", one, turns("a"))
    sessions.remember("", one, turns("b"), agreed=False)()  # taken back: it was not said
    assert one.agreed
    sessions.remember("", one, turns("c"), agreed=False)
    sessions.remember("", one, turns("d"))
    assert not sessions.find("", "one", 3).agreed


@given(st.lists(st.tuples(st.integers(0, 4), st.text(max_size=8)), max_size=30))
def test_there_are_never_more_nor_larger_ones_than_may_be(said: list[tuple[int, str]]) -> None:
    sessions = Sessions(last_two, SessionBounds(number=3, characters=30))
    for number, text in said:
        session = sessions.find("", str(number), None)
        sessions.remember("", session, turns(text))
        assert len(session.turns) <= 2
        assert len(sessions) <= 3
        assert sum(s.size for s in sessions._by_name.values()) <= 30


def test_what_stands_for_a_key_does_not_tell_it() -> None:
    assert "secret" not in space_of("secret")
    assert space_of("secret") != space_of("Secret")
