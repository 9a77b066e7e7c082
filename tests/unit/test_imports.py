"""Steps import what they use: the slim pipeline image has no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.conftest import ROOT

LINES = 300
"""Of a module, at most: what can be read at one go."""
HEAVY = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "trl",
    "wordllama",
    "deepspeed",
    "vllm",
    "sklearn",
    "altair",
    "jinja2",
    "vl_convert",
    "pyarrow",
    "pandas",
    "py3langid",
    "phonenumbers",
    "detect_secrets",
    "pyap",
    "mlflow",
    "kfp",
    "kubernetes",
)


@pytest.mark.parametrize(
    "module",
    [
        "cli",
        "context",
        "steps",
        "method.flywheel.filtering",
        "method.gate",
        "registry.promotion",
        "report.page",
        "method.selfplay",
        "local.runner",
        "training.reward_functions",
        "processes",
        "policy.trees.tree",
        "policy.engine",
        "policy.adapters",
        "policy.weights",
        "policy.vllm_engine",
    ],
)
def test_importing_a_module_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, selfemo.{module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_module_is_longer_than_can_be_read_at_one_go() -> None:
    folders = ("src", "components", "pipelines", "manifests", "benchmarks", "tests")
    files = [f for folder in folders for f in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    assert [str(f) for f in files if len(f.read_text(encoding="utf-8").splitlines()) > LINES] == []


def imported(node: ast.AST) -> Iterator[str]:
    """Modules of this package that a source imports, in functions too; not what type checkers alone read."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for other in node.orelse:
            yield from imported(other)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for below in ast.iter_child_nodes(node):
        yield from imported(below)


def circle(of: Mapping[str, set[str]]) -> list[str]:
    """Names that lead back to the first of them; empty if none do."""
    try:
        TopologicalSorter(of).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_of_packages_never_lead_in_a_circle() -> None:
    """Layers that stand on one line of the contract may import each other, and the linter lets them."""
    package = ROOT / "src" / "selfemo"
    rooms = {place.stem for place in package.iterdir() if not place.name.startswith("_")}
    of: dict[str, set[str]] = {room: set() for room in rooms}
    for file in package.rglob("*.py"):
        room = file.relative_to(package).with_suffix("").parts[0]
        names = (name.split(".") for name in imported(ast.parse(file.read_text(encoding="utf-8"))))
        of.get(room, set()).update(n[1] for n in names if n[0] == "selfemo" and n[1] in rooms - {room})
    assert {"errors", "hardware"} <= of["processes"]
    assert "training" in of["steps"], "it is imported inside functions"
    assert circle(of) == []
    assert {"shown", "logs"} <= set(circle({**of, "shown": {"logs"}})), "the only way round is over what was added"
