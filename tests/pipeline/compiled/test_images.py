"""Which image each step runs in, and where its name comes from."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from components.images import DEFAULT, Images
from pipelines.compile import COMPILED, compile_to
from pipelines.forms import parse
from pipelines.place import STEPS
from tests.pipeline.compiled.forms import executors

pytestmark = pytest.mark.no_cover  # no library code, which it would only slow down


def test_steps_run_in_their_images_and_import_the_library(spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        container = executor["container"]
        kind = name.removeprefix("exec-").split("-")[0]
        expected = {"train": "training", "warmup": "training", "generate": "generation", "evaluate": "generation"}
        assert f"selfemo/{expected.get(kind, 'pipeline')}-python" in container["image"]
        assert "pip install" not in " ".join(container["command"])


KINDS = ("pipeline", "generation", "training")
RELEASE = Images(*(f"registry.example.org/{kind}-python@sha256:{'1' * 64}" for kind in ("p", "g", "t")))


def images_in(spec: dict[str, Any]) -> dict[str, str]:
    return {name: container["image"] for name, container in executors(spec).items()}


def test_every_step_runs_in_the_image_it_is_given(tmp_path: Path) -> None:
    found = images_in(parse(compile_to(tmp_path, images=RELEASE)[0].read_text())[0])
    assert found == {
        name: {"train": RELEASE.training, "generate": RELEASE.generation, "evaluate": RELEASE.generation}.get(
            step.kind, RELEASE.pipeline
        )
        for name, step in STEPS.items()
    }


def test_images_come_from_the_environment_where_it_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFEMO_IMAGE_GENERATION", RELEASE.generation)
    monkeypatch.setenv("SELFEMO_IMAGE_TRAINING", "")
    monkeypatch.delenv("SELFEMO_IMAGE_PIPELINE", raising=False)
    assert Images.from_environment() == Images(generation=RELEASE.generation)
    with pytest.raises(FrozenInstanceError):
        DEFAULT.pipeline = "another"  # type: ignore[misc]  # that it cannot be set is the point


def test_the_checked_in_form_does_not_depend_on_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in KINDS:
        monkeypatch.setenv(f"SELFEMO_IMAGE_{kind.upper()}", f"elsewhere/{kind}-python:9")
    assert compile_to(tmp_path)[0].read_bytes() == (COMPILED / "selfemo-5.yaml").read_bytes()
