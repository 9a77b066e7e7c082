"""A run's tasks by their place in the pipeline, put together again from what Kubeflow Pipelines 2.17 tells of them.

Its API flattens Argo's tree: a task has the display name of a node ("executor", many times over) and, as ``pod_name``
of its children, the ids of the nodes that come after it. An id is the Workflow's name and a hash of the node's full
name (FNV-1a of 32 bits: ``NodeID`` in Argo's ``workflow_types.go``), and a full name is that of the node around it with
a dot and the task's name, or with ``(0)`` for a try or an item of a loop. So from the root down, every full name can be
found by trying the names that occur in the run.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

BASIS, PRIME, BITS = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
NUMBER = re.compile(r"\(\d+(:\d+)?\)$")
"""What ends the name of a try, ``(0)``, or of a loop's item, ``(0:0)``."""


@dataclass(frozen=True)
class Node:
    """A node that is tried until it succeeds; all that Kubeflow compiles are.

    Attributes:
        state: Kubeflow's word for it.
        tries: Ids of its tries, the first one first. The names of their pods end with the same number.
        seconds: From its beginning to its end; None before that.
    """

    state: str
    tries: list[str]
    seconds: float | None


def fnv(text: str, begun: int = BASIS) -> int:
    """FNV-1a of a text, or of one that goes on where another ended."""
    for byte in text.encode():
        begun = ((begun ^ byte) * PRIME) & BITS
    return begun


def nodes(tasks: Sequence[Any]) -> dict[str, Node]:
    """Nodes of a run by their full names, without the Workflow's; those that have not begun are left out.

    Args:
        tasks: ``run_details.task_details`` of Kubeflow's answer. None of another kind of backend are understood: then
            there are no nodes.
    """
    ids = {child for task in tasks for child in _children(task)}
    workflow = next(iter(ids), "").rpartition("-")[0]
    named: dict[str, list[Any]] = defaultdict(list)
    for task in tasks:
        named[task.display_name].append(task)
    numbers = sorted({match.group() for name in named if (match := NUMBER.search(name))})
    tails = [*numbers, *(f".{name}" for name in sorted({NUMBER.sub("", name) for name in named}))]
    found: dict[str, Node] = {}
    todo = [(workflow, workflow)] if workflow in named else []
    while todo:
        full, display = todo.pop()
        begun = fnv(full)
        below = {tail: f"{workflow}-{fnv(tail, begun)}" for tail in tails}
        todo += [
            (full + tail, display + tail if tail in numbers else tail[1:]) for tail, one in below.items() if one in ids
        ]
        tries = [below[tail] for tail in numbers if below[tail] in ids and ":" not in tail]
        for task in named.get(display, []) if tries else []:
            if tries[0] in _children(task):
                found[full.removeprefix(workflow)] = Node(str(task.state or ""), tries, _seconds(task))
    return found


def _seconds(task: Any) -> float | None:
    if not task.start_time or not task.end_time or task.end_time < task.start_time:  # the year 1 stands for no time
        return None
    return float((task.end_time - task.start_time).total_seconds())


def _children(task: Any) -> Iterator[str]:
    return (child.pod_name for child in task.child_tasks or [] if child.pod_name)
