"""How to find tasks, containers and pods in a compiled form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def tasks(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from spec["root"]["dag"]["tasks"].items()
    for component in spec["components"].values():
        yield from component.get("dag", {}).get("tasks", {}).items()


def executors(spec: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("exec-"): e["container"] for name, e in spec["deploymentSpec"]["executors"].items()}


def steps(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tasks that run something, by the name of their step."""
    for _, task in tasks(spec):
        component = spec["components"][task["componentRef"]["name"]]
        if "executorLabel" in component:
            yield component["executorLabel"].removeprefix("exec-"), task


def placed(form: list[dict[str, Any]]) -> dict[str, Any]:
    """What the platform spec says of each step."""
    found = form[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): what for name, what in found.items()}


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}
