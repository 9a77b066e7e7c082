"""Colours and width, on a real pseudo-terminal and in a real pipe."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO

import pytest

from selfemo.registry.rounds import RoundRow
from selfemo.report.table import show_rounds
from selfemo.terminal import colours, console, lively, show_table

VARIABLES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM", "COLORTERM", "COLUMNS", "LINES")
SHOW = [sys.executable, "-m", "selfemo", "data", "show"]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    def only(given: Mapping[str, str]) -> None:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", **given}.items():
            monkeypatch.setenv(name, value)

    only({})
    return only


@contextmanager
def terminal(columns: int = 80) -> Iterator[tuple[IO[str], int]]:
    """A pseudo-terminal: what is written to the file can be read from the descriptor."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        yield stream, ours
    os.close(ours)


@contextmanager
def pipe() -> Iterator[tuple[IO[str], int]]:
    there, here = os.pipe()
    with os.fdopen(here, "w") as stream:
        yield stream, there
    os.close(there)


def shown(work: Callable[[], None], monkeypatch: pytest.MonkeyPatch, columns: int | None = None) -> str:
    """What some work prints on a terminal of so many columns, or in a pipe."""
    with terminal(columns) if columns else pipe() as (stream, end), monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        if columns:  # rich looks at the process's own streams for them
            patch.setenv("COLUMNS", str(columns))
        work()
        stream.write("\0")
        stream.flush()
        return until(end, b"\0").replace("\r\n", "\n").rstrip("\0")


def until(end: int, last: bytes) -> str:
    seen = b""
    while last not in seen:
        seen += os.read(end, 65536)
    return seen.decode()


@pytest.mark.parametrize(
    ("given", "on_terminal", "in_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),  # "when present and not an empty string"
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"CLICOLOR": "0", "CLICOLOR_FORCE": "1"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
    ids=str,
)
def test_colours_are_for_terminals_and_the_conventions_change_that(
    given: Mapping[str, str],
    on_terminal: bool,
    in_pipe: bool,
    variables: Callable[[Mapping[str, str]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables(given)

    def coloured() -> None:
        assert colours(sys.stdout) == wanted
        console().print("[bold red]x[/]")

    for columns, wanted in ((80, on_terminal), (None, in_pipe)):
        assert ("\x1b[" in shown(coloured, monkeypatch, columns)) == wanted


def test_bars_are_drawn_where_they_can_be_written_over(variables: Callable[[Mapping[str, str]], None]) -> None:
    with terminal() as (stream, _):
        variables({"NO_COLOR": "1"})  # which is about colours alone
        assert lively(stream)
        variables({"TERM": "dumb"})
        assert not lively(stream)
    variables({"FORCE_COLOR": "1"})
    assert not lively(io.StringIO())


def test_a_reader_that_has_gone_is_told_as_by_any_other_print(monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = os.pipe()
    os.close(there)
    stream = os.fdopen(here, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(BrokenPipeError):
        show_table(("a",), [("b",)])
    with suppress(BrokenPipeError):
        stream.close()


def test_commands_keep_to_it(variables: Callable[[Mapping[str, str]], None]) -> None:
    piped = subprocess.run(SHOW, capture_output=True, text=True, check=True).stdout
    with terminal() as (stream, end):
        subprocess.run(SHOW, stdout=stream, check=True)
        told = os.read(end, 65536).decode()
    assert "\x1b" not in piped
    assert told.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\r\n", "\n") == piped
    assert told.startswith("\x1b[1m")


ROUNDS = [
    RoundRow(
        round=number,
        accepted=102,
        rejected=23,
        mean_reward=0.565,
        accuracy=0.596,
        weighted_f1=0.503,
        weighted_f1_interval=(0.418, 0.601),
        expression_own=0.583,
        expression_judge=0.5,
        seconds=123.0,
        promoted=not number,
        stopped="" if number < 2 else "collapse: label entropy 0.10 is below 0.50",
    )
    for number in range(3)
]


def test_a_wide_table_is_turned_on_its_side_where_the_terminal_is_narrow(
    variables: Callable[[Mapping[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    variables({"NO_COLOR": "1"})
    narrow = shown(lambda: show_rounds(ROUNDS, "demo"), monkeypatch, 80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert all(narrow.count(word) == 2 for word in ("accepted", "rejected", "accuracy", "champion"))  # in two parts
    assert narrow.count("0.503 [0.418, 0.601]") == 3
    assert [line for line in narrow.splitlines() if "weighted F1" in line and "accuracy" in line] == []
    many = shown(lambda: show_rounds(ROUNDS * 4, "demo"), monkeypatch, 80)
    assert max(map(len, many.splitlines())) <= 80
    assert (many.count("promoted"), many.count("accepted"), many.count("demo")) == (4, 6, 1)
    wide = shown(lambda: show_rounds(ROUNDS, "demo"), monkeypatch, 160)
    assert wide.count("0.503 [0.418, 0.601]") == 3
    assert [line for line in wide.splitlines() if "weighted F1" in line and "accuracy" in line]
    assert "round 2 was stopped: collapse: label entropy 0.10 is below 0.50" in wide


@pytest.mark.parametrize("columns", [None, 200, 80, 40])
def test_no_value_is_cut_off(columns: int | None, variables: object, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, words = "s3://selfemo/" + "0123456789" * 12, "what was said, in many words " * 4
    table = shown(lambda: show_table(("uri", "n", "words"), [(uri, 7, words)], left=("words",)), monkeypatch, columns)
    assert "…" not in table
    kept = "".join(c for c in table if c.isalnum())
    assert all(kept.count(c) >= (uri + words).count(c) for c in set(uri + words) if c.isalnum())
    if columns is None:
        assert [line for line in table.splitlines() if uri in line and words.strip() in line]


def test_nothing_in_a_table_controls_the_terminal(variables: object, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = "a\x1b]0;mine\x07[bold]b\nc"
    table = shown(lambda: show_table((bad, "n"), [(bad, 1)], title=bad, caption=bad), monkeypatch)
    assert not {"\x1b", "\x07"} & set(table)
    assert "[bold]b" in table  # nor rich, by its own marks
