"""Adapters that are not loaded: pickled ones, and those that lead in a circle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.policies import Policies
from selfemo.store.artifacts import Store


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    store = Store((tmp_path / "root").as_uri(), tmp_path / "cache")
    return Policies(Config(), store, lambda name: name, tmp_path / "models")


def adapter(place: Path, base: str, weights: str = "adapter_model.safetensors") -> str:
    place.mkdir(exist_ok=True)
    (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (place / weights).write_bytes(b"")
    return str(place)


def test_a_pickled_adapter_is_never_opened(policies: Policies, tmp_path: Path) -> None:
    given = adapter(tmp_path / "a", "org/base", "adapter_model.bin")
    with pytest.raises(UserError, match=r"holds no adapter_model\.safetensors, the one form that is loaded"):
        _ = policies.find(given).directory


@pytest.mark.parametrize("length", [1, 3])
def test_adapters_that_stand_on_themselves_are_refused(policies: Policies, tmp_path: Path, length: int) -> None:
    names = [str(tmp_path / f"a{i}") for i in range(length)]
    for name, base in zip(names, [*names[1:], names[0]], strict=True):
        adapter(Path(name), base)
    with pytest.raises(UserError, match="the adapter stands on itself"):
        _ = policies.find(names[0]).directory


def test_an_adapter_over_an_adapter_is_none_of_these(policies: Policies, tmp_path: Path) -> None:
    under = adapter(tmp_path / "under", "org/base")
    assert policies.find(adapter(tmp_path / "over", under)).directory


def test_artifacts_that_stand_for_each_other_are_refused(policies: Policies, tmp_path: Path) -> None:
    store = policies.store
    (tmp_path / "d").mkdir()
    for name, other in (("x", "y"), ("y", "x")):
        store.publish(tmp_path / "d", store.uri(name), step="train", result={"policy": store.uri(other)})
    with pytest.raises(UserError, match="stands for itself"):
        policies.find(store.uri("x"))
