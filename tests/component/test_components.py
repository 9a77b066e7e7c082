"""Each component: its folder, what it says when it fails, and a run of its own under KFP's local runner."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl

from components.carry.component import carry
from components.decide.component import decide
from components.evaluate.component import evaluate
from components.filter.component import filter as filter_rollouts
from components.generate.component import generate
from components.prepare.component import prepare
from components.report.component import report
from components.train.component import train
from components.warmup.component import warmup
from pipelines.local import steps_that_start_at_once
from selfemo.config import Config
from selfemo.local import forkserver
from tests.component import plain
from tests.component.loaded import loaded

ALL = [prepare, warmup, generate, filter_rollouts, train, evaluate, decide, carry, report]
ROOT = Path(__file__).parents[2] / "components"
STATE = ("policy", "scores", "misses", "go_on")


@pytest.fixture
def steps_start() -> Iterator[None]:
    """As `selfemo run` has them started."""
    with steps_that_start_at_once():
        yield


def _init(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KFP's local runner, all of whose files lie in a test's own place."""
    from kfp import local

    (place / "tmp").mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(place / "tmp"))  # for the directory that a step's command makes, and leaves
    runner, work = local.SubprocessRunner(use_venv=False), str(place / "workspace")
    local.init(runner, pipeline_root=str(place / "kfp"), workspace_root=work)


def test_a_steps_libraries_are_loaded_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.local.HEAVY", ("colorsys",))
    _init(tmp_path, monkeypatch)
    own = sys.executable
    with steps_that_start_at_once():
        while forkserver.possible() and not Path(sys.executable).with_name("socket").exists():
            time.sleep(0.02)
        assert loaded(module="colorsys").output is forkserver.possible()
    assert sys.executable == own
    assert loaded(module="colorsys").output is False


@pytest.mark.parametrize("component", ALL, ids=lambda c: c.name)
def test_every_component_has_a_folder_that_explains_it(component: Any) -> None:
    folder = ROOT / component.name
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert metadata["name"] == component.name
    assert metadata["image"] in component.component_spec.implementation.container.image
    assert (folder / "README.md").read_text().startswith(f"# {component.name}\n")
    assert component.component_spec.description
    assert len((folder / "component.py").read_text().splitlines()) < 60  # thin


def test_an_error_is_logged_in_one_line_that_names_the_step(
    small_local: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    from selfemo.errors import UserError

    assert small_local.store.root is not None
    with pytest.raises(UserError):
        plain.samples(small_local.to_json(), small_local.store.root + "/nothing", 3)
    assert "filter of round 3 failed:" in capfd.readouterr().err


@pytest.mark.usefixtures("steps_start")
def test_every_component_runs_under_the_local_runner_and_does_what_its_function_does(
    small_local: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = small_local.to_json()

    def run(component: Any, **given: Any) -> Any:
        _init(tmp_path, monkeypatch)
        task = component(**given)
        ran.append(component.name)
        shown = [output for output in task.outputs.values() if isinstance(output, dsl.Artifact)]
        assert all(artifact.metadata or Path(artifact.path).exists() for artifact in shown)
        return task.outputs

    ran: list[str] = []
    where = {"config": text}
    prepared = run(prepare, **where, cycle="", scheduled_at="")
    assert prepared["shards"] == [0]
    data = prepared["prepared"]
    assert data == plain.prepare(text)
    policy = run(warmup, **where, prepared=data)["Output"]
    assert policy == plain.warmup(text, data)
    part = run(evaluate, **where, policy=policy, prepared=data, round=0, shard=0)["Output"]
    nothing = {"policy": "", "scores": "", "misses": 0}
    decided = run(decide, **where, **nothing, challenger=policy, shards=[part], prepared=data, round=0)
    scores = plain.scores(text, policy, data, 0)
    assert {name: decided[name] for name in STATE} == {"policy": policy, "scores": scores, "misses": 0, "go_on": True}
    part = run(generate, **where, policy=policy, prepared=data, round=1, shard=0)["Output"]
    samples = run(filter_rollouts, **where, shards=[part], policy=policy, prepared=data, round=1)["Output"]
    assert samples == plain.samples(text, plain.rollouts(text, policy, data, 1), 1)
    challenger = run(train, **where, policy=policy, samples=samples, prepared=data, round=1)["Output"]
    assert challenger == plain.train(text, policy, samples, data, 1)
    carried = run(carry, policy="p", scores="s", misses=2)
    assert {name: carried[name] for name in STATE} == {"policy": "p", "scores": "s", "misses": 2, "go_on": False}
    assert set(ran) == {c.name for c in ALL} - {"report"}  # an exit task: kfp.local gives a status in a pipeline only
