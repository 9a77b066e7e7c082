"""The compiled form: what is checked in, how large it is, what each task may do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.compile import COMPILED, SIZES, compile_to, form_for

WORK = {"exec-generate", "exec-filter", "exec-train", "exec-evaluate", "exec-decide"}


@pytest.fixture(scope="module", params=SIZES)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    return next(yaml.safe_load_all((COMPILED / f"selfemo-{request.param}.yaml").read_text()))  # type: ignore[no-any-return]


def test_the_checked_in_form_has_not_drifted_and_compiling_is_deterministic(tmp_path: Path) -> None:
    for path in compile_to(tmp_path):
        assert path.read_bytes() == (COMPILED / path.name).read_bytes(), "run `make compile`"


@pytest.mark.parametrize(("size", "limit"), [(5, 256), (10, 512)])
def test_forms_stay_small(size: int, limit: int) -> None:
    assert (COMPILED / f"selfemo-{size}.yaml").stat().st_size < limit * 1024


def test_the_smallest_form_with_room_is_chosen() -> None:
    assert [form_for(n).name for n in (1, 5, 6, 10)] == ["selfemo-5.yaml"] * 2 + ["selfemo-10.yaml"] * 2


def tasks(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from spec["root"]["dag"]["tasks"].items()
    for component in spec["components"].values():
        yield from component.get("dag", {}).get("tasks", {}).items()


def depth(spec: dict[str, Any], dag: dict[str, Any]) -> int:
    below = (spec["components"][t["componentRef"]["name"]].get("dag") for t in dag["tasks"].values())
    return 1 + max((depth(spec, d) for d in below if d), default=0)


def test_rounds_are_a_flat_chain(spec: dict[str, Any]) -> None:
    assert depth(spec, spec["root"]["dag"]) <= 6


def test_every_condition_is_on_an_input_parameter(spec: dict[str, Any]) -> None:
    """A condition on a task's output, or on a OneOf, is silently skipped by the local runner."""
    conditions = [t for _, t in tasks(spec) if "condition" in t.get("triggerPolicy", {})]
    assert conditions
    for task in conditions:
        text = task["triggerPolicy"]["condition"]
        assert "inputs.parameter_values['pipelinechannel--go_on']" in text
        assert set(task["inputs"]["parameters"]["pipelinechannel--go_on"]) == {"componentInputParameter"}


def test_no_result_is_cached_by_kfp_but_the_carried_state(spec: dict[str, Any]) -> None:
    for name, task in tasks(spec):
        if any(f"exec-{task['componentRef']['name'].removeprefix('comp-').split('-')[0]}" == e for e in WORK):
            assert not task.get("cachingOptions", {}).get("enableCache"), name
            assert task["retryPolicy"]["maxRetryCount"] == 2, name


def test_steps_run_in_their_images_and_import_the_library(spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        container = executor["container"]
        kind = name.removeprefix("exec-").split("-")[0]
        expected = {"train": "training", "warmup": "training", "generate": "generation", "evaluate": "generation"}
        assert f"selfemo/{expected.get(kind, 'pipeline')}-python" in container["image"]
        assert "pip install" not in " ".join(container["command"])


def test_descriptions_are_there_to_be_read(spec: dict[str, Any]) -> None:
    assert spec["pipelineInfo"]["displayName"].startswith("self-emo")
    assert spec["pipelineInfo"]["description"]
    names = {t["taskInfo"]["name"] for _, t in tasks(spec)}
    assert {
        "Prepare",
        "Warm-up",
        "Self-play",
        "Filter",
        "SELF-GRPO",
        "Evaluate",
        "Decide",
        "Report",
        "Round 1",
    } <= names
