"""SELF-GRPO on several processes: the same training as on one, whatever shares out the model."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from selfemo import steps
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.label_file import SPACES as LABELS
from selfemo.data.label_file import write_spaces
from selfemo.data.records import Sample, write_records
from selfemo.errors import UserError
from selfemo.policy.weights import load_model
from tests import forks
from tests.conftest import local_of
from tests.spaces import SPACES
from tests.unit.training.samples import sample

pytestmark = [
    pytest.mark.usefixtures("elsewhere"),
    pytest.mark.skipif(
        0 < torch.cuda.device_count() < 3,
        reason="several processes want as many GPUs; set CUDA_VISIBLE_DEVICES= to run it",
    ),
]


def settings(config: Config, run: str, **launch: object) -> Config:
    data = config.model_dump()
    data["run"] = run
    data["launch"] |= launch
    # What is trained on is written by hand here: there are no labelled dialogues to learn again.
    data["grpo"] |= {"prompts_per_step": 4, "confidence_low": 0.0, "replay": 0, "balance": 0.0}
    return Config.model_validate(data)


def publish(config: Config, samples: list[Sample]) -> str:
    def work(out: Path, _: Path) -> dict[str, object]:
        write_records(out / "samples.jsonl.gz", samples)
        return {}

    return Context(config).step("filter", 1, {"by": "hand"}, work).uri


def prepared(config: Config) -> str:
    """URI of prepared data that says no more than which labels there are."""

    def work(out: Path, _: Path) -> dict[str, object]:
        write_spaces(out / LABELS, {"sample": SPACES["sample"]})
        return {}

    return Context(config).step("prepare", 0, {"by": "hand"}, work).uri


def samples() -> list[Sample]:
    return [sample(i, "expression" if i == 3 else "understanding", gold=i % 2 == 0) for i in range(12)]


def history(config: Config, tiny: Path) -> list[dict[str, float]]:
    done = steps.train(config, str(tiny), publish(config, samples()), prepared(config), 1)
    rows: list[dict[str, float]] = json.loads((Context(config).store.fetch(done.uri) / "training.json").read_text())
    assert (Context(config).store.fetch(done.uri) / "model.safetensors").is_file()
    return rows


@pytest.fixture(scope="module")
def local(tiny: Path, empty_mlflow: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """A run without servers that the undisturbed trainings share, which others are held against."""
    place = tmp_path_factory.mktemp("undisturbed")
    (place / "mlflow.db").write_bytes(empty_mlflow)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield local_of(tiny, place, f"sqlite:///{place / 'mlflow.db'}")


@pytest.fixture(scope="module")
def one(local: Config, tiny: Path) -> list[dict[str, float]]:
    return history(settings(local, "one"), tiny)


@pytest.fixture(scope="module")
def two(local: Config, tiny: Path, python: str) -> list[dict[str, float]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", python)  # what the ranks are started with
        return history(two_processes(local, "two"), tiny)


def two_processes(config: Config, run: str) -> Config:
    return settings(config, run, processes=2, pack_tokens=200)


def said(config: Config) -> str:
    """What rank 0 logged."""
    return "".join(p.read_text() for p in Path(config.workdir, "runs", config.run).glob("*/*/attempt_0/0/stderr.log"))


def same(rows: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert len(rows) == len(expected) == 3
    for row, other in zip(rows, expected, strict=True):
        for name in ("loss", "kl", "reward", "grad_norm", "group_confidence", "entropy"):
            if name in other:
                assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-3), name


def test_two_processes_train_as_one_and_only_the_first_writes(
    local: Config, tiny: Path, one: list[dict[str, float]], two: list[dict[str, float]]
) -> None:
    config = two_processes(local, "two")
    same(two, one)
    assert "2 processes train together: MULTI_CPU" in said(config)
    files = sorted(p.name for p in Path(config.workdir, "runs", "two", "train-1").glob("*/attempt_0/*/stderr.log"))
    assert len(files) == 2
    assert not Path(config.workdir, "scratch", "two").exists() or not any(
        Path(config.workdir, "scratch", "two").iterdir()
    )


def test_a_rank_that_dies_fails_the_step_with_its_log_and_the_rerun_ends_as_if_it_had_not(
    small_local: Config,
    tiny: Path,
    two: list[dict[str, float]],
    python: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setenv("SELFEMO_TEST_DIE", str(tmp_path / "died"))
    config = two_processes(small_local, "shaken")
    before = dict(os.environ)
    with pytest.raises(UserError, match=r"rank 1 of training died \(killed by SIGKILL\)") as error:
        history(config, tiny)
    assert dict(os.environ) == before
    assert "this rank was told to die" in str(error.value)
    assert list(Path(config.workdir, "scratch").rglob("checkpoint-1"))
    assert history(config, tiny) == two


@pytest.fixture
def deepspeed(python_with_deepspeed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """DeepSpeed on the CPU, for processes that training starts; nothing is compiled in a test's time."""
    monkeypatch.setattr(sys, "executable", python_with_deepspeed)
    for name, value in forks.DEEPSPEED_ON_CPU.items():
        monkeypatch.setenv(name, value)
    compiled = tmp_path / "compiled"
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(compiled))
    yield
    assert not compiled.exists()


@pytest.mark.usefixtures("deepspeed")
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_deepspeed_trains_as_one_process_does(
    small_local: Config, tiny: Path, one: list[dict[str, float]], strategy: str
) -> None:
    assert any(row["rewards/format/mean"] > 0 for row in one), "no reply could be read, so the listener was not asked"
    config = settings(small_local, strategy, processes=2, strategy=strategy)
    same(history(config, tiny), one)
    assert f"2 processes train together: DEEPSPEED ZeRO-{strategy[-1]}" in said(config)


@pytest.mark.usefixtures("deepspeed")
def test_an_adapter_trained_on_shards_is_merged_into_whole_weights(small_local: Config, tiny: Path) -> None:
    config = settings(small_local, "adapter", processes=2, strategy="zero3")
    config = config.model_copy(update={"grpo": config.grpo.model_copy(update={"lora_rank": 2})})
    history(config, tiny)
    uri = steps.train(config, str(tiny), publish(config, samples()), prepared(config), 1).uri
    before = load_model(str(tiny)).state_dict()
    after = load_model(str(Context(config).store.fetch(uri))).state_dict()
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    assert any(not torch.equal(before[k], after[k]) for k in before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_deepspeed_without_gpus_is_refused_before_anything_starts(small_local: Config, tiny: Path) -> None:
    config = settings(small_local, "refused", processes=2, strategy="zero2")
    with pytest.raises(UserError, match=r"on a CPU use launch\.strategy=ddp"):
        history(config, tiny)
    assert not Path(config.workdir, "runs", "refused").exists()


@pytest.mark.parametrize("step", ["prepare", "train"])
def test_groups_that_cannot_be_dealt_out_are_refused_before_anything_starts(
    small_local: Config, tiny: Path, step: str
) -> None:
    config = settings(small_local, "odd", processes=3)
    with pytest.raises(UserError, match=r"grpo\.prompts_per_step: 4 cannot be dealt out to 3 processes"):
        steps.prepare(config) if step == "prepare" else history(config, tiny)
    assert not Path(config.workdir, "runs", "odd").exists()
