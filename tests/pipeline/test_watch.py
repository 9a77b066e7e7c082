"""What is told of a run, from real answers of Kubeflow Pipelines 2.17.0 (multi-user, Argo 4.0.5)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.nodes import fnv, nodes
from pipelines.watch import lines

ANSWERS = Path(__file__).parent / "answers"


def tasks(answer: str) -> list[Any]:
    """The tasks of a kept answer, as Kubeflow's client gives them."""
    client = pytest.importorskip("kfp_server_api").ApiClient()
    response = SimpleNamespace(data=(ANSWERS / f"{answer}.json").read_text())
    return list(client.deserialize(response, "V2beta1Run").run_details.task_details)


def test_rounds_steps_and_shards_are_told_as_a_person_knows_them() -> None:
    assert list(lines(tasks("in_round_1"), "self-emo")) == [
        "Prepare: succeeded in 31 s",
        "Warm-up: succeeded in 294 s",
        "round 0: Evaluate, shard 1: succeeded in 73 s",
        "round 0: Evaluate, shard 2: succeeded in 73 s",
        "round 0: Decide: succeeded in 57 s",
        "round 1: Self-play, shard 1: running",
        "round 1: Self-play, shard 2: running",
    ]


def test_what_failed_is_told_with_the_command_that_shows_why() -> None:
    """The pod of that answer was selfemo-5-67hcm-retry-system-container-impl-3165189000."""
    found = list(lines(tasks("failed_in_prepare"), "self-emo"))
    assert found == [
        "Prepare: failed in 30 s\n"
        "  see: kubectl -n self-emo logs -c main $(kubectl -n self-emo get pods -o name | grep 3165189000)",
        "Report: succeeded in 21 s",
    ]


def changed(answer: str, display: str, **values: Any) -> list[Any]:
    found = tasks(answer)
    for task in found:
        if task.display_name == display:
            for name, value in values.items():
                setattr(task, name, value)
    return found


def test_a_driver_that_fails_is_told_as_the_step_it_is_of() -> None:
    told = list(lines(changed("failed_in_prepare", "prepare-driver", state="FAILED"), "n"))
    assert told[0].startswith("Prepare: Kubeflow's driver failed\n  see: kubectl -n n logs -c main $(")


def test_a_second_try_is_told() -> None:
    workflow = "selfemo-5-67hcm"
    first, _, number = (
        nodes(tasks("failed_in_prepare"))["(0).root(0).exit-handler-1(0).prepare(0).executor"].tries[0].rpartition("-")
    )
    assert (first, number) == (workflow, "3165189000")
    full = f"{workflow}(0).root(0).exit-handler-1(0).prepare(0).executor"
    assert fnv(f"{full}(0)") == int(number)
    found = tasks("failed_in_prepare")
    for task in found:
        if task.child_tasks and task.child_tasks[0].pod_name == f"{workflow}-{number}":
            task.child_tasks = [
                *task.child_tasks,
                SimpleNamespace(pod_name=f"{workflow}-{fnv(f'{full}(1)')}"),
            ]
            task.state = "RUNNING"
    found.append(SimpleNamespace(display_name="executor(1)", state="RUNNING", child_tasks=None))
    assert "Prepare: running (try 2)" in list(lines(found, "n"))


def test_a_backend_that_names_its_tasks_itself_is_understood_as_well() -> None:
    found = [
        SimpleNamespace(display_name="Self-play", state="RUNNING", child_tasks=None),
        SimpleNamespace(display_name="root", state="RUNNING", child_tasks=None),
    ]
    assert list(lines(found, "n")) == ["Self-play: running"]
    assert list(lines([], "n")) == []


@given(st.text(), st.text())
def test_a_hash_goes_on_where_it_ended(first: str, second: str) -> None:
    assert fnv(second, fnv(first)) == fnv(first + second)


def test_the_hash_is_fnv_1a() -> None:
    """Values of the reference implementation (www.isthe.com/chongo/tech/comp/fnv)."""
    assert (fnv(""), fnv("a"), fnv("foobar")) == (0x811C9DC5, 0xE40C292C, 0xBF9CF968)
