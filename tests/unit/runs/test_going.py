"""How a run goes, from what it and its steps note as it happens; when it will be over, from what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo import events
from selfemo.runs import eta
from selfemo.runs.going import Going, PieceState
from selfemo.runs.here import Here, newest
from tests.unit.runs.happened import ROW, Happened


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Happened:
    return Happened(tmp_path, "e2e", monkeypatch)


def states(going: Going, round: int) -> dict[str, str]:
    return {stage.step: stage.state for stage in going.stages() if stage.round == round}


def test_steps_ahead_wait_and_what_runs_counts(run: Happened, tmp_path: Path) -> None:
    here = Here(tmp_path, "e2e")
    assert here.look().state.word == "open"  # nothing was noted yet
    run.starts(rounds=1)
    run.step("prepare", 0, 1)
    run.note(events.STEP, "starts", step="warmup", round=0, uri="u")
    run.note(events.WORK, name="warm-up", done=12, total=48, seconds=6.0)
    going = here.look()
    assert states(going, 0) == {
        "prepare": PieceState.DONE,
        "warmup": PieceState.RUNS,
        "evaluate": PieceState.WAITS,
        "decide": PieceState.WAITS,
    }
    assert set(states(going, 1).values()) == {PieceState.WAITS}
    work = going.pieces[0, "warmup", None].work
    assert work is not None and (work.rate, work.left) == (2.0, 18.0)
    assert going.state.word == "running" and not going.over
    run.note(events.WORK, name="warm-up", done=36, total=48, before=24, seconds=6.0)  # killed at 24, and run again
    work = here.look().pieces[0, "warmup", None].work
    assert work is not None and (work.rate, work.left) == (2.0, 6.0)


def test_shards_go_beside_each_other_and_each_counts_for_itself(run: Happened, tmp_path: Path) -> None:
    run.starts(shards=2)
    for shard in (0, 1):
        run.pid = 100 + shard
        run.note(events.STEP, "starts", step="generate", round=1, uri="u", shard=shard, of=2)
        run.note(events.WORK, name="self-play", done=shard + 1, total=4, seconds=1.0)
    run.pid = 100
    run.note(events.STEP, "published", 7, step="generate", round=1, uri="u", shard=0, of=2)
    going = Here(tmp_path, "e2e").look()
    first, second = (going.pieces[1, "generate", shard] for shard in (0, 1))
    assert (first.state, second.state) == (PieceState.DONE, PieceState.RUNS)
    assert second.work is not None and second.work.done == 2
    assert next(s for s in going.stages() if s.step == "generate").state == PieceState.RUNS


def test_the_parts_of_a_step_are_not_its_end(run: Happened, tmp_path: Path) -> None:
    run.starts()
    run.step("gather", 1, 3)
    going = Here(tmp_path, "e2e").look()
    assert going.pieces[1, "filter", None].state == PieceState.RUNS
    run.step("filter", 1, 4)
    filtered = Here(tmp_path, "e2e").look()
    piece = filtered.pieces[1, "filter", None]
    assert (piece.state, piece.seconds(0.0), piece.tries) == (PieceState.DONE, 7.0, 1)
    assert filtered.samples == ("s3://b/1/filter", 1)


def test_a_step_that_failed_is_told_with_why_and_tried_again(run: Happened, tmp_path: Path) -> None:
    run.starts()
    run.note(events.STEP, "starts", step="train", round=1, uri="u")
    run.note(events.STEP, "failed", step="train", round=1, said="train of round 1 failed: out of memory")
    failed = Here(tmp_path, "e2e").look().pieces[1, "train", None]
    assert (failed.state, failed.said) == (PieceState.FAILED, "train of round 1 failed: out of memory")
    run.note(events.STEP, "starts", step="train", round=1, uri="u")
    again = Here(tmp_path, "e2e").look().pieces[1, "train", None]
    assert (again.state, again.tries, again.said) == (PieceState.RUNS, 2, "")


def test_a_run_begun_again_starts_anew_with_what_is_there_already(run: Happened, tmp_path: Path) -> None:
    run.starts()
    run.first_round()
    run.starts()
    run.note(events.STEP, "there", step="warmup", round=0, uri="u", result={})
    run.note(events.STEP, "there", step="score", round=0, uri="u", result={})
    run.note(events.STEP, "there", step="decide", round=0, uri="u", result={})
    going = Here(tmp_path, "e2e").look()
    assert states(going, 0) == {
        "prepare": PieceState.WAITS,
        "warmup": PieceState.THERE,
        "evaluate": PieceState.WAITS,
        "decide": PieceState.THERE,
    }


def test_rounds_after_the_last_one_are_not_needed_and_what_a_killed_run_did_is_cut_off(
    run: Happened, tmp_path: Path
) -> None:
    run.starts(rounds=2)
    run.note(events.STEP, "starts", step="decide", round=1, uri="u")
    result = {"row": {**ROW, "round": 1, "promoted": False}, "go_on": False}
    run.note(events.STEP, "published", step="decide", round=1, uri="u", result=result)
    run.note(events.STEP, "starts", step="prepare", round=0, uri="u")
    going = Here(tmp_path, "e2e").look()
    assert set(states(going, 2).values()) == {PieceState.NEVER}
    assert going.rows[1].weighted_f1 == 0.4
    run.began = 5.0  # of a process that had this id before
    run.starts()
    run.note(events.STEP, "starts", step="prepare", round=0, uri="u")
    killed = Here(tmp_path, "e2e").look()
    assert killed.state.word == "killed" and killed.over
    assert states(killed, 0)["prepare"] == PieceState.CUT_OFF


def test_the_time_that_is_left_is_not_known_before_every_step_ahead_was_measured(run: Happened, tmp_path: Path) -> None:
    here = Here(tmp_path, "e2e")
    run.starts(rounds=2)
    run.first_round()
    assert eta.left(here.look(), {}, run.now) is None  # nobody knows how long self-play takes
    for name, seconds in (("generate", 30), ("filter", 3), ("train", 50), ("evaluate", 22), ("decide", 5)):
        shard = {"shard": 0, "of": 1} if name in ("generate", "evaluate") else {}
        run.step(name, 1, seconds, after=2, **shard)
    going = here.look()
    before = {"prepare": 10, "warmup": 100, "generate": 30, "filter": 3}
    assert eta.known(going, {}) == {**before, "train": 50, "evaluate": 22, "decide": 5}
    assert eta.left(going, {}, run.now) == pytest.approx(30 + 3 + 50 + 22 + 5 + 5 * 2)
    run.note(events.STEP, "starts", 2, step="generate", round=2, uri="u", shard=0, of=1)
    assert eta.left(here.look(), {}, run.now + 10) == pytest.approx(20 + 3 + 50 + 22 + 5 + 4 * 2)
    run.note(events.WORK, name="self-play", done=1, total=11, seconds=9.0)
    assert eta.left(here.look(), {}, run.now + 10) == pytest.approx(90 + 3 + 50 + 22 + 5 + 4 * 2)  # slower this time


def test_what_earlier_runs_took_counts_where_this_one_has_not_got_there_yet(run: Happened, tmp_path: Path) -> None:
    run.starts(rounds=1)
    run.first_round()
    earlier = {"generate": 40.0, "filter": 2.0, "train": 60.0, "evaluate": 999.0, "decide": 999.0}
    left = eta.left(Here(tmp_path, "e2e").look(), earlier, run.now)
    assert left == pytest.approx(40 + 2 + 60 + 20 + 5 + 5 * 2)


def test_lines_that_are_no_events_and_a_line_that_is_not_whole_do_no_harm(run: Happened, tmp_path: Path) -> None:
    reader = events.EventReader(run.file)
    assert reader.new() == []
    run.starts()
    with run.file.open("ab") as out:
        out.write(b'\xff\xfe\n{"at": "x"}\n[1]\n{"at": 1.0, "pid": 1, "wh')
    assert [event.what for event in reader.new()] == [events.RUN]
    with run.file.open("ab") as out:
        out.write(b'at": "step", "state": "starts", "values": {"step": "nothing", "round": "x"}}\n')
    assert [event.state for event in reader.new()] == ["starts"]
    assert Here(tmp_path, "e2e").look().state.word == "running"
    assert newest(tmp_path) == "e2e"


def test_a_step_goes_on_where_nothing_can_be_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(events.VARIABLE, str(tmp_path / "no" / "such" / "folder"))
    events.note(events.STEP, "starts", step="train", round=1)
    monkeypatch.setenv(events.VARIABLE, str(tmp_path / "file"))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    events.note(events.STEP, "starts", step="train", round=1)
    assert not (tmp_path / "file").exists()  # rank 0 tells for all
