"""A bar on a terminal, plain lines in a log."""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from unittest.mock import MagicMock

import pytest

from selfemo import progress
from selfemo.config import Config
from selfemo.context import Context
from selfemo.local.runner import _OURS, _screen
from selfemo.policies import Policies
from selfemo.store.artifacts import Store
from selfemo.store.backends import LocalBackend


def test_a_log_gets_plain_lines_now_and_then_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    monkeypatch.setattr(progress.log, "handlers", [Lines()])
    request.addfinalizer(functools.partial(progress.log.setLevel, progress.log.level))
    progress.log.setLevel(logging.INFO)
    monkeypatch.setattr(progress.log, "propagate", False)
    monkeypatch.setattr(progress, "LOG_EVERY", 1000)
    with progress.meter("work", 3) as meter:
        for _ in range(3):
            meter.advance()
    assert lines == ["work 3/3 in 0 s"]
    monkeypatch.setattr(progress, "LOG_EVERY", 0)
    with progress.meter("more", 2) as meter:
        meter.advance()
        meter.advance()
    assert lines[1:] == ["more 1/2 in 0 s", "more 2/2 in 0 s"]
    with progress.meter("work gone on with", 3) as meter:
        meter.resume(2)
        meter.advance()
    assert lines[3:] == [f"work gone on with {n}/3 in 0 s, 2 of them before" for n in (2, 3)]
    assert all(progress.LINE.fullmatch(f"12:00:00 I {line}") for line in lines)


def test_a_step_that_has_finished_nothing_yet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = threading.Event()
    lines: list[str] = []

    def line(message: str, *values: object) -> None:
        lines.append(message % values)
        said.set()

    monkeypatch.setattr(progress.log, "info", line)
    monkeypatch.setattr(progress, "HEARTBEAT", 0.001)
    with progress.meter("warm-up", 24):
        assert said.wait(60)  # nothing was advanced
    assert lines[0] == "warm-up 0/24 in 0 s"


@pytest.fixture
def beaten(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Waits for the next line of a heart that beats at once, and gives it."""
    lines: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(progress.log, "info", lambda message, *values: lines.put(message % values))
    monkeypatch.setattr(progress, "HEARTBEAT", 0.001)
    return lambda: lines.get(timeout=60)


def test_a_policy_that_takes_long_to_load_says_so(
    tmp_path: Path, beaten: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def load(directory: str, config: Config) -> tuple[None, None]:
        said.append(beaten())
        return None, None

    monkeypatch.setattr("selfemo.policy.load.load_engine", load)
    monkeypatch.setattr("selfemo.method.prompts.Prompter", MagicMock())
    (tmp_path / "config.json").write_text("{}")
    store = Store((tmp_path / "root").as_uri(), tmp_path / "cache")
    Policies(Config(), store, dict[str, str]().__getitem__, tmp_path / "models").find(str(tmp_path)).player()
    assert said == ["loading the policy: still at it after 0 s"]
    for heart in (t for t in threading.enumerate() if t.name == "heartbeat"):
        heart.join(60)
        assert not heart.is_alive()


def test_an_artifact_that_takes_long_to_fetch_or_to_publish_says_so(
    tmp_path: Path, beaten: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for name, goes_on in (("upload", "publishing"), ("download", "fetching")):
        copy = getattr(LocalBackend, name)

        def slow(*given: Any, copy: Callable[..., None] = copy, goes_on: str = goes_on) -> None:
            while not beaten().startswith(goes_on):  # a heart that has just stopped may have left lines
                pass
            said.append(goes_on)
            copy(*given)

        monkeypatch.setattr(LocalBackend, name, slow)
    store = Store((tmp_path / "root").as_uri(), tmp_path / "cache")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_text("a")
    store.publish(tmp_path / "files", store.uri("x"), step="train")
    store.fetch(store.uri("x"))
    assert said == ["publishing", "fetching"]


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.meter("work", 2) as meter:
        meter.advance(2)
        assert meter.done == 2


def test_the_runs_screen_shows_lines_above_a_view_that_has_the_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(Config(workdir=str(tmp_path)))
    lines = [
        "07:00:00 I train of round 1 starts",
        "07:00:02 I SELF-GRPO 2/2 in 2 s",
        "07:00:03 I [bold]not markup[/bold] 3/4",
    ]
    for drawn in (True, False):
        monkeypatch.setattr("selfemo.runs.view.drawable", lambda _, drawn=drawn: drawn)
        with _screen(context) as show:
            for line in lines:
                show(line)
        printed = capsys.readouterr().err.splitlines()
        assert [line for line in lines if line in printed] == ([lines[0], lines[2]] if drawn else lines)


@pytest.mark.parametrize("line", ["    07:00:00 I ours", "\x1b[32m07:00:00 I ours\x1b[0m"])
def test_only_the_projects_own_lines_are_shown(line: str) -> None:
    match = _OURS.match(line)
    assert match is not None
    assert match.group(1) == "07:00:00 I ours"
    assert _OURS.match("07:00:00.123 - INFO - Executing task 'x'") is None
