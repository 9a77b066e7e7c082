"""Model directories as people have them: one line that names the file and the fix, before anything is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from selfemo import config as configuration
from selfemo.errors import UserError
from selfemo.policy.adapters import publish
from selfemo.policy.directory import check_safetensors
from selfemo.policy.load import load_engine
from selfemo.policy.weights import load_model, load_tokenizer

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d4d\nsize 269060552\n"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def _edit(**values: object) -> Callable[[Path], None]:
    """Changes config.json."""

    def spoil(place: Path) -> None:
        file = place / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return spoil


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda place: (place / name).write_text(text)


def _tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        changed = change(load_file(place / WEIGHTS))
        save_file(changed, place / WEIGHTS, metadata={"format": "pt"})

    return spoil


def _no_tokenizer(place: Path) -> None:
    for file in place.glob("tokenizer*"):
        file.unlink()


def _pickled(place: Path) -> None:
    torch.save(load_file(place / WEIGHTS), place / "pytorch_model.bin")
    (place / WEIGHTS).unlink()


def _shards(*names: str) -> Callable[[Path], None]:
    """An index that names files, of which the first is there."""

    def spoil(place: Path) -> None:
        (place / WEIGHTS).rename(place / "a.safetensors")
        tensors = load_file(place / "a.safetensors")
        names_of = {tensor: names[i % len(names)] for i, tensor in enumerate(tensors)}
        (place / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names_of}))

    return spoil


def _scale(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"transformer.{name.removeprefix('model.')}": tensor for name, tensor in tensors.items()}


UP = "model.layers.1.mlp.up_proj.weight"
DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights are a Git LFS pointer": (_write(WEIGHTS, POINTER), rf"{WEIGHTS}: a Git LFS pointer.*\n.*git lfs pull"),
    "the tokenizer is a Git LFS pointer": (_write("tokenizer.json", POINTER), r"tokenizer\.json: a Git LFS pointer"),
    "the configuration is a Git LFS pointer": (_write("config.json", POINTER), r"config\.json: a Git LFS pointer"),
    "weights are empty": (_write(WEIGHTS, ""), rf"{WEIGHTS}: cut off or damaged"),
    "no JSON": (_write("config.json", '{"a": '), r"config\.json: no JSON: .* line 1 column"),
    "a mark that Windows writes": (_write("config.json", "\ufeff{}"), r"config\.json: no JSON: .*BOM"),
    "how answers end is damaged": (_write("generation_config.json", '{"a'), r"generation_config\.json: no JSON"),
    "how answers end is a pointer": (_write("generation_config.json", POINTER), r"generation_config\.json: a Git LFS"),
    "no object": (_write("config.json", "[1]"), r"config\.json: no JSON object"),
    "no model type": (_edit(model_type=None), "does not know the model type 'None'"),
    "a type to come": (_edit(model_type="qwen9"), r"transformers [\d.]+ does not know the model type 'qwen9'"),
    "code of its own": (_edit(model_type="chat", auto_map={"AutoConfig": "c.C"}), "brings code of its own"),
    "no decoder": (_edit(model_type="t5"), "'t5' is no decoder"),
    "a value of another type": (_edit(hidden_size="big"), "'hidden_size' expected int, got str"),
    "a value that cannot be": (_edit(hidden_act="nonsense"), "cannot be tried.*nonsense"),
    "quantised": (_edit(quantization_config={"quant_method": "awq", "bits": 4}), r"the weights are quantised \(awq\)"),
    "no tokenizer": (_no_tokenizer, "holds no tokenizer.*\n.*copy tokenizer.json"),
    "a damaged tokenizer": (_write("tokenizer.json", '{"a": 1}'), "the tokenizer cannot be read"),
    "no weights": (lambda place: (place / WEIGHTS).unlink(), f"holds no {WEIGHTS}"),
    "pickled weights alone": (_pickled, f"holds pytorch_model.bin and no {WEIGHTS}"),
    "a shard is missing": (_shards("a.safetensors", "b.safetensors"), r"b\.safetensors: the file is missing"),
    "a shard elsewhere": (_shards("a.safetensors", "../b.safetensors"), "names a file elsewhere: ../b.safetensors"),
    "an index of nothing": (lambda p: [_shards("a")(p), (p / INDEX).write_text("{}")], "names no weights"),
    "tensors of other names": (
        _tensors(_scale),
        r"24 missing: model\.embed_tokens\.weight, .*, \.\.\.; 24 unexpected: tr",
    ),
    "a tensor is missing": (_tensors(lambda t: {n: v for n, v in t.items() if n != UP}), f"1 missing: {UP}"),
    "a tensor too many": (_tensors(lambda t: t | {"model.extra": torch.zeros(2)}), "1 unexpected: model.extra"),
    "another shape": (
        _edit(intermediate_size=100),
        r"6 of another shape: .*down_proj\.weight \[64, 96\], not \[64, 100\]",
    ),
    "a type of number that is none": (_edit(dtype="float9"), "the configuration cannot be read"),
}


@pytest.fixture
def place(tiny: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny, tmp_path / "m")
    return tmp_path / "m"


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_directory_is_refused_in_one_line(place: Path, damage: str) -> None:
    spoil, problem = DAMAGED[damage]
    spoil(place)
    with pytest.raises(UserError, match=problem) as refusal:
        load_engine(str(place), configuration.load(None, []))
    assert str(place) in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 2, "what, and the fix"


def test_shards_are_read_and_so_are_weights_without_metadata(place: Path) -> None:
    tensors = load_file(place / WEIGHTS)
    save_file(tensors, place / WEIGHTS)
    whole = load_model(str(place)).state_dict()
    _shards("a.safetensors")(place)
    parts = load_model(str(place)).state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@given(kept=st.one_of(st.integers(0, 3000), st.integers(0, 200_000)))
@settings(max_examples=60)
def test_weights_that_are_cut_off_anywhere_are_refused(
    kept: int, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = (tiny / WEIGHTS).read_bytes()
    file = tmp_path_factory.mktemp("cut") / WEIGHTS
    file.write_bytes(whole[: min(kept, len(whole) - 1)])
    with pytest.raises(UserError, match="cut off or damaged"):
        check_safetensors(file)


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    """A view of an adapter, without a tokenizer of its own."""
    from peft import LoraConfig, get_peft_model

    settings_of = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    publish(get_peft_model(load_model(str(tiny)), settings_of), tmp_path / "adapter", str(tiny))
    return tmp_path / "adapter"


def test_an_adapter_without_a_tokenizer_has_its_bases(adapter: Path, tiny: Path) -> None:
    assert load_tokenizer(str(adapter)).get_vocab() == load_tokenizer(str(tiny)).get_vocab()
    load_engine(str(adapter), configuration.load(None, []))


def _lora(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        file = place / "adapter_model.safetensors"
        save_file(change(load_file(file)), file)

    return spoil


def _kind(place: Path) -> None:
    file = place / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"peft_type": "PREFIX_TUNING"}))


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickled": (
        lambda p: (p / "adapter_model.safetensors").rename(p / "adapter_model.bin"),
        "holds adapter_model.bin and no adapter_model.safetensors",
    ),
    "a pointer": (_write("adapter_model.safetensors", POINTER), "a Git LFS pointer"),
    "of another kind": (_kind, "an adapter of kind PREFIX_TUNING"),
    "a tensor is missing": (
        _lora(lambda t: dict(sorted(t.items())[1:])),
        r"the adapter of Qwen3ForCausalLM; 1 missing: ",
    ),
    "a tensor too many": (
        _lora(lambda t: t | {"base_model.x.lora_A.weight": torch.zeros(2)}),
        "1 unexpected: base_model",
    ),
    "another shape": (_lora(lambda t: {n: v[:2] for n, v in t.items()}), "the adapter cannot be read"),
}


@pytest.mark.parametrize("damage", SPOILT)
def test_a_damaged_adapter_is_refused_in_one_line(adapter: Path, damage: str) -> None:
    spoil, problem = SPOILT[damage]
    spoil(adapter)
    with pytest.raises(UserError, match=problem) as refusal:
        load_engine(str(adapter), configuration.load(None, []))
    assert str(adapter) in str(refusal.value)
