"""What a process that trains knows of the others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfemo import config as configuration
from selfemo import processes, steps
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.training.common import check_processes, share


def test_alone_a_process_is_the_first_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # of something else: torchrun says more than that
    assert (processes.launched(), processes.rank(), processes.world()) == (False, 0, 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (processes.launched(), processes.rank(), processes.world()) == (True, 3, 4)
    assert share(8, "grpo.prompts_per_step") == 2
    with pytest.raises(UserError, match="6 cannot be dealt out to 4 processes"):
        share(6, "grpo.prompts_per_step")


def test_processes_that_would_each_train_alone_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = configuration.load(None, ["launch.strategy=zero2"])
    # A trainer's arguments, as a library leaves them that knows of no other process.
    alone: Any = SimpleNamespace(distributed_state=SimpleNamespace(num_processes=1), device=SimpleNamespace(type="cpu"))
    with pytest.raises(UserError, match="zero2: 2 processes were started, and each would train alone"):
        check_processes(alone, config)
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_processes(alone, config)


def test_processes_are_started_where_more_than_one_is_asked_for_and_not_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.wanted(2, "ddp")
    assert processes.wanted(1, "zero2")
    assert not processes.wanted(1, "ddp")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert not processes.wanted(2, "ddp")


P = "file:///p"


@pytest.mark.parametrize(("compiled", "asked"), [("pod", "trainjob"), ("trainjob", "pod")])
@pytest.mark.parametrize(
    "step",
    [lambda config: steps.warmup(config, P), lambda config: steps.train(config, P, P, P, 1)],
    ids=["warmup", "train"],
)
def test_a_training_step_of_a_pipeline_compiled_for_another_trainer_says_so_before_it_does_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiled: str, asked: str, step: Callable[[Config], object]
) -> None:
    monkeypatch.setenv("SELFEMO_TRAINER", compiled)
    config = configuration.load(None, [f"cluster.trainer={asked}", f"workdir={tmp_path / 'nothing'}"])
    with pytest.raises(UserError) as raised:
        step(config)
    assert f"compiled for cluster.trainer: {compiled}, and runs with {asked}" in str(raised.value)
    assert "compile it again" in str(raised.value)
    assert not (tmp_path / "nothing").exists()


def test_a_rank_does_not_outlive_the_process_that_started_it() -> None:
    rank = (
        "import time; from selfemo import processes; processes.die_with_parent();"
        "print('here', flush=True); time.sleep(120); print('outlived it', flush=True)"
    )
    starter = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {rank!r}], start_new_session=True).wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "here\n"
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == ""  # the rank holds the other end: this is read when it has ended


@pytest.mark.parametrize(
    ("codes", "cause"), [({0: 1, 1: -9}, 1), ({0: -15, 1: 2}, 1), ({0: 1, 1: -15}, 0), ({0: -6, 1: -15}, 0)]
)
def test_of_several_dead_ranks_the_cause_is_named(codes: dict[int, int], cause: int, tmp_path: Path) -> None:
    class Failure:
        def __init__(self, rank: int, exitcode: int) -> None:
            self.local_rank, self.exitcode, self.timestamp = rank, exitcode, 0
            folder = tmp_path / "run" / "attempt_0" / str(rank)
            folder.mkdir(parents=True)
            (folder / "stderr.log").write_text("\n".join(f"rank {rank} line {i}" for i in range(100)))

    error = processes._dead({r: Failure(r, c) for r, c in codes.items()}, tmp_path)
    assert f"rank {cause} of training died" in str(error)
    assert f"rank {cause} line 99" in str(error)
    assert "line 60" not in str(error)
