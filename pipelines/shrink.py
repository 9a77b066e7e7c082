"""A compiled form with everything in it once.

The compiler writes the components and executors of a sub-pipeline anew for each time it is used, under numbered names:
ten equal rounds ten times over. Kubeflow refers to them by name, so equal ones can be one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

Spec = dict[str, Any]


def shrink(spec: Spec, platform: Spec) -> None:
    """Make equal executors, then equal components, one: in place, and the same form stays the same form.

    Args:
        spec: A pipeline spec.
        platform: Its platform spec, which names executors too; may be empty.
    """
    executors = spec["deploymentSpec"]["executors"]
    placed = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    kept = _firsts({name: [executor, placed.get(name)] for name, executor in executors.items()})
    for name in [n for n in executors if kept[n] != n]:
        del executors[name]
        placed.pop(name, None)
    components = spec["components"]
    for component in components.values():
        if "executorLabel" in component:
            component["executorLabel"] = kept[component["executorLabel"]]
    while len(set((kept := _firsts(components)).values())) < len(components):
        for name in [n for n in components if kept[n] != n]:
            del components[name]
        for dag in (spec["root"], *components.values()):
            for task in dag.get("dag", {}).get("tasks", {}).values():
                reference = task["componentRef"]
                reference["name"] = kept[reference["name"]]


def _firsts(named: Mapping[str, Any]) -> dict[str, str]:
    """For each name the first, numbers last, that stands for the same content."""
    first: dict[str, str] = {}
    found = {}
    for name in sorted(named, key=_place):
        found[name] = first.setdefault(json.dumps(named[name], sort_keys=True), name)
    return found


def _place(name: str) -> tuple[str, int]:
    """``comp-train`` before ``comp-train-2`` before ``comp-train-10``."""
    match = re.fullmatch(r"(.*?)(?:-(\d+))?", name)
    assert match is not None
    return match.group(1), int(match.group(2) or 0)
