"""Which tasks a form has, how they hang together, and what they are called."""

from __future__ import annotations

import re
from typing import Any

from kfp import dsl

from components.carry.component import carry
from components.decide.component import decide
from components.images import DEFAULT
from pipelines.compile import COMPILED, SIZES
from pipelines.local import for_here
from pipelines.loop import evaluate_and_decide
from pipelines.place import BACKOFF, STEPS
from selfemo.config.cluster import ClusterSettings
from selfemo.loop import LoopState
from tests.pipeline.compiled.forms import executors, steps, tasks


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


def test_equal_rounds_are_in_a_form_once(spec: dict[str, Any]) -> None:
    assert set(executors(spec)) == set(STEPS)
    for half, first in (("learn", 1), ("judge", 0)):
        rounds = [t for _, t in tasks(spec) if t["componentRef"]["name"] == f"comp-selfemo-{half}"]
        numbers = [int(t["inputs"]["parameters"]["round"]["runtimeValue"]["constant"]) for t in rounds]
        assert sorted(numbers) == list(range(first, max(numbers) + 1))
        assert max(numbers) in SIZES


def test_every_task_has_its_title_and_retries_and_none_is_cached_by_kfp(spec: dict[str, Any]) -> None:
    seen = set()
    for name, task in steps(spec):
        seen.add(name)
        assert task["taskInfo"]["name"] == STEPS[name].title
        assert not task.get("cachingOptions", {}).get("enableCache"), name
        assert task.get("retryPolicy", {}).get("maxRetryCount", 0) == (0 if name == "report" else STEPS[name].retries)
        if name != "report":
            assert task["retryPolicy"]["backoffFactor"] == 2
            # It is counted from the first start: all tries have to have their time in it.
            minutes = getattr(ClusterSettings().pods, STEPS[name].kind).minutes
            window = int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s"))
            assert window >= (STEPS[name].retries + 1) * minutes * 60
    assert seen == set(STEPS)


def test_on_one_machine_no_try_is_waited_for() -> None:
    form = (COMPILED / "selfemo-5.yaml").read_text()
    waits = re.findall(r"backoffDuration: \S+", form)
    assert set(waits) == {f"backoffDuration: {BACKOFF}"}
    here = for_here(form)
    assert re.findall(r"backoffDuration: \S+", here) == len(waits) * ["backoffDuration: 0s"]
    assert dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER in form
    assert dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER not in here


def test_self_play_and_evaluation_fan_out_over_the_shards_that_prepare_counts(spec: dict[str, Any]) -> None:
    loops = [t for _, t in tasks(spec) if "parameterIterator" in t]
    assert len(loops) == 2
    for task in loops:
        items = task["parameterIterator"]["items"]["inputParameter"]
        source = task["inputs"]["parameters"][items]
        assert "shards" in str(source)
        assert all("componentInputParameter" in p for p in task["inputs"]["parameters"].values())  # see loop.py
        inside = spec["components"][task["componentRef"]["name"]]["dag"]["tasks"]
        assert set(inside) in ({"generate"}, {"evaluate"})


def test_the_loops_state_is_what_its_components_and_its_rounds_put_out() -> None:
    kinds = {str: "String", int: "Integer", bool: "Boolean"}
    fields = {name: kinds[kind] for name, kind in LoopState.__annotations__.items()}
    for component in (decide, carry, evaluate_and_decide(ClusterSettings(), DEFAULT)):
        outputs = component.component_spec.outputs
        assert {n: o.type for n, o in outputs.items() if not o.type.startswith("system.")} == fields, component.name


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
        "Round 1: learn",
        "Round 1: judge",
    } <= names
