"""Tables that every step stands in: what one that was added lacks is said by name."""

from __future__ import annotations

from typing import Any

import pytest

from components.carry.component import carry
from components.decide.component import decide
from pipelines.place import STEPS
from selfemo.config import SECTIONS
from selfemo.fingerprint import PACKAGE
from selfemo.loop import LoopState
from selfemo.runs import view
from selfemo.runs.going import BEFORE, INNER, ROUND, SHOWN
from selfemo.runs.view import columns_of
from tests.conftest import ROOT

WITHOUT_RESULT = {"carry", "report"}
"""They have a pod, and publish nothing: nobody waits for them."""


@pytest.mark.parametrize("component", [decide, carry], ids=lambda c: str(c.name))
def test_a_component_takes_and_gives_the_loops_state_by_the_names_of_its_fields(component: Any) -> None:
    """Whether the loop goes on is a gate before it, and no input."""
    fields = set(LoopState._fields)
    assert set(component.component_spec.inputs) >= fields - {"go_on"}
    assert not {name for name in component.component_spec.inputs if "champion" in name}
    assert set(component.component_spec.outputs) >= fields


@pytest.mark.parametrize("step", SECTIONS)
def test_a_step_is_shown_by_watch_or_runs_within_one_that_is(step: str) -> None:
    assert (step in SHOWN) != (step in INNER), "runs/going.py: one line, in SHOWN or in INNER"
    assert INNER.get(step, step) in SHOWN


@pytest.mark.parametrize("step", SHOWN)
def test_a_step_that_is_shown_is_in_a_round_and_has_a_pod_a_component_and_a_module(step: str) -> None:
    assert step in BEFORE or step in ROUND, "runs/going.py: first, later, or both"
    assert step in SECTIONS, "config/run.py: the sections that it reads"
    assert step in STEPS, "pipelines/place.py: where its pod runs"
    assert (ROOT / "components" / step / "component.py").is_file()
    assert (PACKAGE / "steps" / f"{step}.py").is_file()


def test_every_step_of_a_round_has_a_column_of_the_view() -> None:
    first, later = columns_of()
    assert first == ("prepare", "", "warmup", "evaluate", "decide")
    assert later == ("generate", "filter", "train", "evaluate", "decide")


def test_steps_that_were_added_have_columns_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ("prepare", "lengths", "words", "warmup", "evaluate", "decide")
    monkeypatch.setattr(view, "BEFORE", before)
    first, later = columns_of()
    assert first == before
    assert later == ("generate", "filter", "train", "", "evaluate", "decide")


def test_no_table_has_a_step_that_is_none() -> None:
    assert set(STEPS) - WITHOUT_RESULT == set(SHOWN)
    assert set(SHOWN) | set(INNER) == set(SECTIONS)
