"""Names in the code: the field's words, one meaning each, and a sentence for every member of an enumeration."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

FOLDERS = ("src", "components", "pipelines", "manifests", "benchmarks")
GIVEN_WAY = {"lesson", "verdict", "settle", "settled", "beside", "pays", "bring", "brought", "sound", "arm"}
"""Words that names had once, and that a reader of the field does not know for what they meant: example, reason,
recover, advantage, fetch, variant."""
ONCE = {"State", "Row", "Part", "Scored", "Scores", "Decision", "Rewards", "LoopState"}
"""Classes whose names meant several things once."""


def trees(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))


def named(tree: ast.Module) -> Iterator[str]:
    """What a module gives a name to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


def test_names_are_of_the_fields_words() -> None:
    found = {f"{file}: {name}" for file, tree in trees(*FOLDERS) for name in named(tree) if words(name) & GIVEN_WAY}
    assert found == set()
    assert words("_is_settled") & words("SettledState") == {"settled"}


def test_a_name_that_meant_several_things_is_of_one_class() -> None:
    classes = Counter(
        node.name for _, tree in trees(*FOLDERS) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    assert {name for name in ONCE if classes[name] > 1} == set()
    assert classes["LoopState"] == 1


def sentences(members: ast.ClassDef) -> dict[str, str]:
    """What is said of each member of an enumeration: below it, or in its value; empty where nothing is."""
    said = {}
    for node, below in zip(members.body, [*members.body[1:], None], strict=True):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            texts = [below.value] if isinstance(below, ast.Expr) else getattr(node.value, "elts", [])
            found = [t.value for t in texts if isinstance(t, ast.Constant) and isinstance(t.value, str)]
            said[node.targets[0].id] = next(iter(found), "")
    return said


def test_every_member_of_an_enumeration_has_a_sentence() -> None:
    enums = {
        node.name: sentences(node)
        for _, tree in trees(*FOLDERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases)
    }
    assert {"Reason", "Exit", "PieceState", "RunStatus", "MoveKind", "RoundFate"} <= enums.keys()
    assert [f"{e}.{m}" for e, said in enums.items() for m, text in said.items() if not text.endswith(".")] == []


def test_every_room_and_every_module_at_the_ground_is_on_the_page_of_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "selfemo"
    rooms = {f"{place.parent.name}/" for place in package.glob("*/__init__.py")}
    modules = {file.name for file in package.glob("*.py") if not file.name.startswith("__")}
    assert {"policies.py", "method/"} <= rooms | modules
    assert {name for name in rooms | modules if not re.search(rf"\b{re.escape(name)}", page)} == set()


def test_layers_are_twelve_at_most() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert 0 < len(contracts[0]["layers"]) <= 12


def test_no_line_is_kept_from_the_formatter() -> None:
    mark = "# fmt: " + "skip"
    files = [file for folder in (*FOLDERS, "tests") for file in (ROOT / folder).rglob("*.py")]
    assert [str(file) for file in files if mark in file.read_text(encoding="utf-8")] == []


def test_a_word_of_several_meanings_names_one_thing_at_the_top_of_modules() -> None:
    """`PARTS` are a reward's, and to decide is what the gate does with a round."""
    found: dict[str, set[str]] = {"PARTS": set(), "decide": set(), "decided": set()}
    for file, tree in trees("src"):
        names = {file.stem} | {n for node in tree.body for n in top(node)}
        for word in found.keys() & names:
            found[word].add(file.as_posix().removeprefix("src/selfemo/"))
    assert found == {"PARTS": {"training/reward_functions.py"}, "decide": {"steps/decide.py"}, "decided": set()}


def top(node: ast.stmt) -> set[str]:
    """What a statement of a module gives a name to there."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
