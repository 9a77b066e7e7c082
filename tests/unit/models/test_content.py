"""A model that is exported anew to the same directory is another one: steps and views are keyed by what it holds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.context import Context
from selfemo.policies import Policies
from selfemo.policy import content
from selfemo.policy.adapters import settings
from selfemo.store import marks
from selfemo.store.artifacts import Store
from tests.conftest import race


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    return Policies(
        Config(),
        Store((tmp_path / "root").as_uri(), tmp_path / "cache"),
        dict[str, str]().__getitem__,
        tmp_path / "models",
    )


@pytest.fixture
def base(tiny: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny, tmp_path / "base")
    return tmp_path / "base"


def _scale(file: Path) -> None:
    save_file({k: v * 1.5 for k, v in load_file(file).items()}, file, metadata={"format": "pt"})


def test_other_weights_in_the_same_directory_are_another_base(policies: Policies, base: Path, tmp_path: Path) -> None:
    first = policies.find(str(base)).version
    assert policies.find(str(base)).version == first
    copy = shutil.copytree(base, tmp_path / "copy")
    assert policies.find(str(copy)).version == first, "the same files elsewhere are the same model"
    _scale(base / "model.safetensors")
    assert policies.find(str(base)).version != first
    config = configuration.load(None, [f"workdir={tmp_path}", f"store.root={(tmp_path / 's').as_uri()}"])
    context = Context(config)
    inputs = [{"base": str(base), **version} for version in (first, policies.find(str(base)).version)]
    assert len({context.uri("warmup", 0, given) for given in inputs}) == 2


def test_notes_hidden_files_and_folders_are_no_part_of_a_model(base: Path, tmp_path: Path) -> None:
    before = content.digest(base, tmp_path)
    (base / "README.md").write_text("a card")
    (base / ".gitattributes").write_text("x")
    (base / "checkpoint-7").mkdir()
    assert content.digest(base, tmp_path) == before
    (base / "generation_config.json").write_text("{}")
    assert content.digest(base, tmp_path) != before


def names_of_hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that are hashed from now on, to something short."""
    hashed: list[str] = []

    def sha256(file: Path) -> str:
        hashed.append(file.name)
        return "x"

    monkeypatch.setattr(content, "sha256", sha256)
    return hashed


def test_what_has_not_changed_is_not_hashed_again(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = names_of_hashed(monkeypatch)
    count = len(list(base.iterdir()))
    for file in base.iterdir():
        os.utime(file)
    content.digest(base, tmp_path / "new")
    content.digest(base, tmp_path / "new")
    assert len(hashed) == 2 * count, "files that were only just written may change within a tick of the clock"
    past = time.time_ns() - 10_000_000_000
    for file in base.iterdir():
        os.utime(file, ns=(past, past))
    hashed.clear()
    content.digest(base, tmp_path / "new")
    content.digest(base, tmp_path / "new")
    assert len(hashed) == count
    os.utime(base / "config.json")
    content.digest(base, tmp_path / "new")
    assert len(hashed) == 2 * count


def test_of_several_that_ask_at_the_same_time_one_hashes(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past, count, hashed = time.time_ns() - 10_000_000_000, len(list(base.iterdir())), names_of_hashed(monkeypatch)
    for file in base.iterdir():
        os.utime(file, ns=(past, past))
    together, write = threading.Barrier(4), marks.write

    def slowly(mark: Path, digest: str, stamps: marks.Stamps) -> None:
        """Others would come while a mark is written."""
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.2)
        write(mark, digest, stamps)

    monkeypatch.setattr(marks, "write", slowly)
    race(4, lambda _: content.digest(base, tmp_path / "new"))
    assert len(hashed) == count


def test_an_adapter_that_is_saved_again_is_seen_and_so_is_its_base(
    policies: Policies, base: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    written = {"peft_type": "LORA", "base_model_name_or_path": str(base), "lora_alpha": 8, "r": 4}
    (adapter / "adapter_config.json").write_text(json.dumps(written))
    (adapter / "adapter_model.safetensors").write_bytes(b"not read here")
    first = policies.find(str(adapter))
    before = first.version
    assert settings(first.directory)["lora_alpha"] == 8
    (adapter / "adapter_config.json").write_text(json.dumps(written | {"lora_alpha": 64}))
    again = policies.find(str(adapter))
    assert settings(again.directory)["lora_alpha"] == 64
    assert (later := again.version) != before
    _scale(base / "model.safetensors")
    assert policies.find(str(adapter)).version != later


def test_artifacts_are_known_by_their_uri_alone(policies: Policies, base: Path) -> None:
    uri = policies.store.uri("model")
    policies.store.publish(base, uri, step="train")
    assert policies.find(uri).version == {}
    assert policies.find("Qwen/Qwen3-4B").version == {}
