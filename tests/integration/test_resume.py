"""kill -9 in the middle of any step, run again: the same artifacts, none half-written. Real S3, real MLflow."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from selfemo import steps
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.records import Sample, read_records
from selfemo.loop import LoopState

STEPS = ("prepare", "warmup", "evaluate", "decide", "generate", "filter", "train")


@dataclass
class Run:
    """Runs the steps of a first round one after another, each from what the ones before it made."""

    config: Config
    made: dict[str, str] = field(default_factory=dict)

    def step(self, name: str) -> str:
        made = self.made
        if name == "prepare":
            made[name] = steps.prepare(self.config).uri
        elif name == "warmup":
            made[name] = steps.warmup(self.config, made["prepare"]).uri
        elif name == "evaluate":
            made[name] = steps.evaluation(self.config, made["warmup"], made["prepare"], 0).uri
        elif name == "decide":
            state, made[name] = steps.decide(self.config, LoopState(), made["warmup"], made["evaluate"], 0)
            assert state.go_on
            assert state.policy == made["warmup"]
        elif name == "generate":
            made[name] = steps.self_play(self.config, made["warmup"], made["prepare"], 1).uri
        elif name == "filter":
            made[name] = steps.filter(self.config, made["generate"], 1).uri
        else:
            made[name] = steps.train(self.config, made["warmup"], made["filter"], made["prepare"], 1).uri
        return made[name]


def listing(config: Config) -> list[str]:
    """URIs of the published artifacts of a run."""
    store = Context(config).store
    found = store.backend(store.root).list(store.uri(config.run))
    return [u.removesuffix("/manifest.json") for u in found if u.endswith("/manifest.json")]


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from selfemo import logs
from selfemo.store import backends
from selfemo.config import Config
logs.configure()
point = {point!r}
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if point == "publishing":
    backends.S3Backend.create = die  # every file is uploaded, the manifest is not
elif point == "computing":
    from selfemo.training import common
    after = common.Recorder.on_step_end
    def second(self, args, state, control, **rest):
        after(self, args, state, control, **rest)
        if state.global_step == 2:
            die()
    common.Recorder.on_step_end = second
from test_resume import Run
Run(Config.from_json({config!r}), {made!r}).step({name!r})
"""


def kill(run: Run, name: str, point: str) -> None:
    code = textwrap.dedent(KILLED).format(
        tests=str(Path(__file__).parent), point=point, config=run.config.to_json(), made=run.made, name=name
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, tiny: Path, workdir: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """URI and hashes of the files of each step of an undisturbed run, which is then removed."""
    from selfemo import config as configuration
    from tests.conftest import SMALL

    config = configuration.load(None, [f"policy.base={tiny}", f"workdir={workdir}", *SMALL, "run=killed"])
    run = Run(config)
    store = Context(config).store
    results = {}
    for name in STEPS:
        uri = run.step(name)
        manifest = store.manifest(uri)
        assert manifest is not None
        results[name] = (uri, {n: f.sha256 for n, f in manifest.files.items()})
    samples = list(read_records(store.fetch(run.made["filter"]) / "samples.jsonl.gz", Sample))
    assert len(samples) > 2, "the run must have something to train on, or this tests nothing"
    store.backend(store.root).remove_tree(store.uri(config.run))
    return results


def test_each_step_killed_twice_and_run_again_ends_with_the_same_artifacts(
    whole: dict[str, tuple[str, dict[str, str]]], small: Config
) -> None:
    config = small.model_copy(update={"run": "killed"})
    run = Run(config)
    store = Context(config).store
    for name in STEPS:
        before = listing(config)
        for point in ("computing", "publishing") if name in ("warmup", "train") else ("publishing",):
            kill(run, name, point)
            assert listing(config) == before, f"{name} killed while {point} left something published"
        uri, files = whole[name]
        assert run.step(name) == uri
        manifest = store.manifest(uri)
        assert manifest is not None
        after = {n: f.sha256 for n, f in manifest.files.items()}
        assert after == files, f"{name} ended differently after it was killed"
        assert store.fetch(uri).is_dir()


def test_a_finished_step_is_not_done_again(
    whole: dict[str, tuple[str, dict[str, str]]], small: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(small.model_copy(update={"run": "again"}))
    run.step("prepare")
    first = run.step("warmup")

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("selfemo.training.warmup.warm_up", never)
    assert run.step("warmup") == first
