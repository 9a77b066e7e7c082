"""The view of a run on a cluster, from real answers of Kubeflow Pipelines 2.17.0 (tests/pipeline/test_watch.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines import view
from pipelines.kubeflow import connect
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.registry.rounds import RoundRow
from selfemo.runs import eta
from selfemo.runs.going import Going, PieceState
from selfemo.runs.view import waiting
from tests.pipeline.stub import Stub
from tests.pipeline.test_submit import settings, submission
from tests.pipeline.test_watch import PREPARE, answer, named
from tests.unit.runs.happened import ROW

TRAIN = "selfemo-5-sw7m4-606092074"


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's MLflow is asked; what it would say is round 0."""

    def figures(_: object, run: Going) -> list[int]:
        run.rows[0] = RoundRow(**ROW)
        return [0]

    monkeypatch.setattr(view, "figures", figures)


def looked_at(stub: Stub, config: Config, manifest: dict[str, Any], state: str = "RUNNING") -> Going:
    client = connect(config)
    run = submission(stub, "launch.shards=2").run()
    stub.states = [state]
    return view.There(client, run, config, config.run).look(client.get_run(run), manifest)


@pytest.mark.usefixtures("no_figures")
def test_rounds_steps_and_shards_are_those_of_the_workflow(stub: Stub) -> None:
    going = looked_at(stub, settings(stub, "launch.shards=2"), answer("in_round_1"))
    states = {(stage.round, stage.step): stage.state for stage in going.stages()}
    done = [(0, step) for step in ("prepare", "warmup", "evaluate", "decide")]
    assert [states[place] for place in done] == [PieceState.DONE] * 4
    assert [states[1, step] for step in ("generate", "filter", "train", "evaluate")] == [
        PieceState.DONE,
        PieceState.DONE,
        PieceState.RUNS,
        PieceState.WAITS,
    ]
    assert going.state.word == "running"
    times = eta.known(going, {})
    assert (times["warmup"], times["generate"]) == (294, 265)  # shards go beside each other
    assert eta.left(going, {}, 0.0) is None  # SELF-GRPO was not measured yet
    assert next(waiting(going)).startswith("next: Evaluate of round 1 waits for SELF-GRPO; Decide waits for Evaluate")


@pytest.mark.usefixtures("no_figures")
def test_what_failed_what_a_pod_waits_for_and_tries_are_told(stub: Stub) -> None:
    config = settings(stub, "launch.shards=2")
    failed = looked_at(stub, config, answer("failed_in_prepare"), "FAILED")
    piece = failed.pieces[0, "prepare", None]
    assert (piece.state, piece.said, piece.tries) == (PieceState.FAILED, "main: Error (exit code 1)", 1)
    assert failed.state.word == "failed" and failed.over
    manifest = answer("failed_in_prepare")
    executor, pod = named(manifest, PREPARE), named(manifest, f"{PREPARE}(0)")
    executor["phase"], pod["phase"] = "Running", "Pending"
    pod["message"] = "0/3 nodes are available\x1b[2J"
    pending = looked_at(stub, config, manifest)
    assert pending.pieces[0, "prepare", None].state == PieceState.WAITS
    assert next(waiting(pending)).startswith("next: Prepare of round 0: 0/3 nodes are available [2J")


@pytest.mark.usefixtures("no_figures")
def test_a_run_that_ended_well_before_its_last_round_needs_no_more(stub: Stub) -> None:
    going = looked_at(stub, settings(stub, "loop.rounds=5"), answer("in_round_1"), "SUCCEEDED")
    assert going.over and {p.state for (round, _, _), p in going.pieces.items() if round == 5} == {PieceState.NEVER}


@pytest.mark.usefixtures("no_figures")
def test_on_a_terminal_the_view_is_drawn_and_the_end_is_said(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings(stub, "launch.shards=2")
    run = submission(stub, "launch.shards=2").run()
    stub.workflows[run] = answer("in_round_1")
    stub.logs[TRAIN] = "10:00:00 I train of round 1 starts\n10:00:09 I SELF-GRPO 3/8 in 6 s\nbye\n"
    stub.states = ["RUNNING", "RUNNING", "SUCCEEDED"]
    there = view.There(connect(config), run, config, config.run)
    going = there.add_work(there.look(connect(config).get_run(run), stub.workflows[run]))
    work = going.pieces[1, "train", None].work
    assert work is not None and (work.name, work.done, work.total) == ("SELF-GRPO", 3, 8)
    assert view.follow(connect(config), run, config, config.run, 0.01, live=True) == "SUCCEEDED"
    drawn = capsys.readouterr().err
    assert "4:54" in drawn and "finished" in drawn  # the warm-up
    assert drawn.splitlines()[-1] == f"run {config.run} has ended: succeeded"


def test_a_run_that_is_not_there_is_refused_with_the_names_of_those_that_are(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submission(stub).run()
    config = settings(stub, "run=other")
    with pytest.raises(UserError, match="no run 'other'") as error:
        view.newest(connect(config), config)
    assert error.value.fix == "name one of these: demo"
    file = tmp_path / "config.json"
    file.write_text(settings(stub).to_json())
    monkeypatch.setattr("sys.argv", ["view", str(file)])
    stub.states = ["FAILED"]
    capsys.readouterr()
    assert view.main() == 1
    told = capsys.readouterr()
    assert (told.out, told.err.splitlines()[-1]) == ("failed\n", "run demo has ended: failed")
