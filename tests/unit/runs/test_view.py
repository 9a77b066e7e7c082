"""The view of a run: what is drawn fits, tells what there is to tell, and obeys nobody but us."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from selfemo import events
from selfemo.cli import main
from selfemo.context import Context
from selfemo.data.dialogue import Utterance
from selfemo.data.records import Sample, write_records
from selfemo.errors import UserError
from selfemo.runs.going import Going
from selfemo.runs.here import Here
from selfemo.runs.recorded import recorded
from selfemo.runs.samples import Samples
from selfemo.runs.show import clock
from selfemo.runs.view import draw, drawable, plain, waiting
from selfemo.runs.watching import drawn
from selfemo.shown import duration
from selfemo.store.artifacts import Store
from tests.unit.runs.happened import Happened
from tests.unit.runs.made import Made

EVIL = "\x1b[2J\x1b]0;owned\x07[bold]no markup[/bold]"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Happened:
    found = Happened(tmp_path, "e2e", monkeypatch)
    found.starts(rounds=2, shards=2, title=f"tiny on {EVIL}")
    found.first_round()
    return found


def no_store() -> Store:
    raise UserError("the embedded servers do not run")


def text(workdir: Path, width: int, samples: Samples | None = None, now: float = 1200.0) -> str:
    """What is drawn at a width, as plain text."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    going = Here(workdir, "e2e").look()
    console.print(draw(going, samples or Samples(no_store), {}, now, width))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_what_is_drawn_fits_and_no_text_from_elsewhere_reaches_the_terminal(
    run: Happened, tmp_path: Path, width: int
) -> None:
    run.note(events.STEP, "starts", step="generate", round=1, uri="u", shard=1, of=2)
    run.note(events.WORK, name=EVIL, done=3, total=8, seconds=6.0)
    run.note(events.STEP, "failed", step="train", round=1, said=f"it broke {EVIL}\nmore")
    drawn = text(tmp_path, width)
    assert max(map(len, drawn.splitlines())) <= width
    assert not [c for c in drawn if not c.isprintable() and c != "\n"]
    assert "[bold]" in "".join(drawn.split("\n"))  # as it was written


def test_a_view_tells_rounds_steps_shards_rates_and_what_waits_for_what(run: Happened, tmp_path: Path) -> None:
    run.step("generate", 1, 30, shard=0, of=2)
    run.note(events.STEP, "starts", step="generate", round=1, uri="u", shard=1, of=2)
    run.note(events.WORK, name="self-play", done=3, total=9, seconds=6.0)
    drawn = text(tmp_path, 120, now=run.now + 5)
    first, second = (line for line in drawn.splitlines() if line.split()[0] in ("0", "1"))
    assert "prepare 0:10" in first and "1:40" in first and "promoted" in first
    assert "6 of 47" in first and first.endswith("0.400 [0.300, 0.500]")
    assert "1/2 0:35..." in second
    assert "round 1: Self-play, shard 2 of 2 3/9" in drawn
    assert "0.5/s, 12 s left" in drawn
    assert "running for" in drawn and ", ? left" in drawn  # nobody knows yet how long SELF-GRPO takes
    assert "next: Filter of round 1 waits for Self-play, shard 2; SELF-GRPO waits for Filter" in drawn


@pytest.mark.parametrize("width", [76, 80, 99, 100])
def test_what_became_of_rounds_is_never_cut_where_there_is_room_for_all_columns(
    run: Happened, tmp_path: Path, width: int
) -> None:
    """A run that was there already has the longest cells; 80 columns are the commonest width of all."""
    run.starts(rounds=2, shards=2)
    for name in ("prepare", "warmup", "evaluate"):
        run.note(events.STEP, "there", step=name, round=0, uri="u")
    run.step("decide", 0, 2)
    drawn = text(tmp_path, width)
    row = next(line for line in drawn.splitlines() if line.split()[0] == "0")
    assert "there" in row and "promoted" in row and "6 of 47" in row and "0.400" in row
    assert "…" not in drawn.split("accepted in")[0]


def test_what_waits_for_a_place_to_run_in_is_told_with_why(run: Happened, tmp_path: Path) -> None:
    going = Here(tmp_path, "e2e").look()
    going.pieces[1, "generate", 0].said = "0/3 nodes are available"
    assert "Self-play of round 1: 0/3 nodes are available" in "".join(waiting(going))


def test_samples_that_were_kept_last_are_shown_as_text_and_a_store_that_is_away_is_told(
    run: Happened, tmp_path: Path
) -> None:
    run.step("filter", 1, 3)
    assert "accepted in round 1: cannot be read from here" in _drawn_when_fetched(tmp_path, Samples(no_store))
    store = Store((tmp_path / "root").as_uri(), tmp_path / "cache")
    (tmp_path / "files").mkdir()
    given = dict(
        round=1, policy="p", corpus="sample", dialogue="d", role="Ann", gold=False, confidence=0.75, parents=()
    )
    given |= dict(task="understanding", target=("joy",))
    rows = [
        Sample.model_validate({**given, "id": said, "history": [Utterance(speaker="Bo", text=said)]})
        for said in ("first", "second", EVIL)
    ]
    write_records(tmp_path / "files" / "samples.jsonl.gz", rows)
    store.publish(tmp_path / "files", "file://" + str(tmp_path / "root" / "x"), step="filter")
    samples = Samples(lambda: store)
    samples.fetch("file://" + str(tmp_path / "root" / "x"))
    assert [kept.text.split()[0] for kept in samples.kept] == ["Bo:", "Bo:"]  # the last of a task
    assert samples.kept[0].text == "Bo: second" and samples.kept[0].target == "joy"
    assert all(c.isprintable() for c in samples.kept[1].text)


def _drawn_when_fetched(workdir: Path, samples: Samples) -> str:
    samples.fetch("s3://b/1/filter")
    return text(workdir, 80, samples)


def test_without_a_terminal_there_are_lines(run: Happened, tmp_path: Path) -> None:
    run.note(events.STEP, "starts", step="train", round=1, uri="u")
    run.note(events.RUN, "ended", word="failed", said=f"train of round 1 failed {EVIL}")
    told = CliRunner().invoke(main, ["watch", "e2e", "--set", f"workdir={tmp_path}"])
    assert told.exit_code == 1
    assert told.stdout.splitlines()[:2] == ["round 0: Prepare: done in 10 s", "round 0: Warm-up: done in 1 min 40 s"]
    assert "round 0: promoted, weighted F1 0.400 [0.300, 0.500]" in told.stdout
    assert "round 1: SELF-GRPO: cut off" in told.stdout
    assert "run e2e: failed: train of round 1 failed" in told.stdout.splitlines()[-1]
    assert "\x1b" not in told.stdout


def test_a_run_of_which_only_records_are_here_is_told_by_its_decided_rounds(
    made: Made, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = recorded(context, "plain")
    assert going.over and going.rows.keys() == {0, 1}
    assert [line for line in plain(going) if "weighted F1" in line][1].startswith("round 1: kept, weighted F1 0.")
    settings = [word for setting in made.settings for word in ("--set", setting)]
    told = CliRunner().invoke(main, ["watch", "plain", *settings])
    assert told.exit_code == 0, told.output
    assert told.stdout.endswith("run plain: finished\n")
    unknown = CliRunner().invoke(main, ["watch", "x", *settings])
    assert unknown.exit_code == 2 and "name one of these: few, hotter, plain" in unknown.stderr


@pytest.mark.parametrize(
    ("variables", "drawn"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
)
def test_a_view_is_for_terminals_that_can_draw_and_for_people_who_want_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], drawn: bool
) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not drawable(io.StringIO())
    stream: Callable[[], io.StringIO] = type("Terminal", (io.StringIO,), {"isatty": lambda _: True})
    assert drawable(stream()) == drawn


def test_a_run_does_not_end_of_its_view() -> None:
    def look() -> Going:
        raise ValueError(EVIL)

    out = io.StringIO()
    with drawn(look, Samples(no_store), {}, Console(file=out, force_terminal=True)):
        pass
    assert "no view: ValueError" in out.getvalue() and "\x1b]0;owned" not in out.getvalue()


def test_on_a_real_terminal_a_finished_run_is_drawn_once_and_stays(run: Happened, tmp_path: Path) -> None:
    run.note(events.RUN, "ended", word="finished", said="")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "selfemo", "watch", "e2e", "--set", f"workdir={tmp_path}"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    done = subprocess.run(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment, check=False)
    os.close(theirs)
    data = _all(ours)
    assert done.returncode == 0, data
    assert "\x1b[" in data and "finished" in data and "promoted" in data
    assert "\x1b]0;owned" not in data


def _all(descriptor: int) -> str:
    """What was written to a terminal whose other end is closed."""
    data = b""
    with suppress(OSError):
        while part := os.read(descriptor, 65536):
            data += part
    os.close(descriptor)
    return data.decode()


@pytest.mark.parametrize(
    ("seconds", "said", "short"),
    [(0.4, "0 s", "0:00"), (59.6, "1 min 00 s", "1:00"), (190, "3 min 10 s", "3:10"), (3725, "1 h 02 min", "1:02:05")],
)
def test_times_are_told_as_people_say_them(seconds: float, said: str, short: str) -> None:
    assert (duration(seconds), clock(seconds)) == (said, short)
    assert duration(None) == "?"
