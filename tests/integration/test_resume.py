"""kill -9 in the middle of any step, run again: the same artifacts, none half-written. Real S3, real MLflow."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from transformers import TrainerState

from selfemo import steps
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.records import Sample, read_records
from selfemo.loop import LoopState
from tests import forks

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


def kill(python: str, run: Run, name: str, point: str, step: int = 0) -> None:
    done = forks.run(
        python, "tests.integration.killed", json.dumps([run.config.to_json(), run.made, name, point, step])
    )
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr


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
    python: str, whole: dict[str, tuple[str, dict[str, str]]], small: Config
) -> None:
    config = small.model_copy(update={"run": "killed"})
    run = Run(config)
    store = Context(config).store
    for name in STEPS:
        before = listing(config)
        for point in ("computing", "publishing") if name in ("warmup", "train") else ("publishing",):
            kill(python, run, name, point)
            assert listing(config) == before, f"{name} killed while {point} left something published"
        uri, files = whole[name]
        assert run.step(name) == uri
        manifest = store.manifest(uri)
        assert manifest is not None
        after = {n: f.sha256 for n, f in manifest.files.items()}
        assert after == files, f"{name} ended differently after it was killed"
        assert store.fetch(uri).is_dir()


def steps_trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the optimizer steps that are taken in this process, as they come."""
    from selfemo.training.common import Recorder

    seen: list[int] = []
    after = Recorder.on_step_end

    def note(self: Recorder, args: object, state: TrainerState, control: object, **rest: object) -> None:
        seen.append(state.global_step)
        after(self, args, state, control, **rest)

    monkeypatch.setattr(Recorder, "on_step_end", note)
    return seen


def checkpoints_of(config: Config) -> list[str]:
    store = Context(config).store
    return list(store.backend(store.root).list(store.uri(config.run, "checkpoints")))


def in_store_config(config: Config, run: str) -> Config:
    launch = config.launch.model_copy(update={"checkpoints": "store"})
    return config.model_copy(update={"run": run, "launch": launch})


@pytest.mark.parametrize(("name", "last"), [("warmup", 6), ("train", 1)])
def test_training_whose_machine_is_lost_goes_on_from_the_stores_checkpoint_and_ends_the_same(
    python: str,
    whole: dict[str, tuple[str, dict[str, str]]],
    small: Config,
    name: str,
    last: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It dies after checkpoint number ``last`` is in the store, and its disk with it."""
    run = Run(in_store_config(small, "killed"))
    for before in STEPS[: STEPS.index(name)]:
        run.step(before)
    uri, files = whole[name]
    context = Context(run.config)
    context.store.backend(uri).remove_tree(uri)  # of the other tests
    kill(python, run, name, "kept", last)
    assert {u.split("/checkpoint-")[1].split("/")[0] for u in checkpoints_of(run.config)} == {str(last)}
    shutil.rmtree(context.workdir / "scratch" / run.config.run)
    seen = steps_trained(monkeypatch)
    with caplog.at_level("INFO", "selfemo"):
        assert run.step(name) == uri
    said = [r.getMessage() for r in caplog.records]
    assert f"checkpoint-{last} is fetched from the store" in said
    assert f"training goes on from checkpoint-{last}" in said
    assert seen[0] == last + 1
    manifest = context.store.manifest(uri)
    assert manifest is not None
    assert {n: f.sha256 for n, f in manifest.files.items()} == files
    assert checkpoints_of(run.config) == []  # the artifact is there: they have done their work


def test_a_damaged_checkpoint_of_the_store_is_not_loaded_and_the_step_ends_the_same(
    python: str,
    whole: dict[str, tuple[str, dict[str, str]]],
    small: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run(in_store_config(small, "killed"))
    run.step("prepare")
    uri, files = whole["warmup"]
    context = Context(run.config)
    backend = context.store.backend(uri)
    backend.remove_tree(uri)
    kill(python, run, "warmup", "kept", 6)
    shutil.rmtree(context.workdir / "scratch" / run.config.run)
    (tmp_path / "another").write_bytes(b"not what was saved")
    backend.upload(tmp_path / "another", next(u for u in checkpoints_of(run.config) if u.endswith("/optimizer.pt")))
    seen = steps_trained(monkeypatch)
    with caplog.at_level("INFO", "selfemo"):
        run.step("warmup")
    assert any("optimizer.pt differs from its manifest" in r.getMessage() for r in caplog.records)
    assert seen[0] == 1
    manifest = context.store.manifest(uri)
    assert manifest is not None
    assert {n: f.sha256 for n, f in manifest.files.items()} == files


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
