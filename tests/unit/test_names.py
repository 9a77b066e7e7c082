"""Names in the code: the field's words, one meaning each, and a sentence for every member of an enumeration."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from selfemo.config import Config
from selfemo.config.section import Section
from tests.conftest import ROOT

FOLDERS = ("src", "components", "pipelines", "manifests", "benchmarks")
GIVEN_WAY = {"lesson", "verdict", "settle", "settled", "beside", "pays", "bring", "brought", "sound", "arm", "heard"}
"""Words that names had once, and that a reader of the field does not know for what they meant: example, reason,
recover, advantage, fetch, variant."""
ONCE = {"State", "Row", "Scores", "Decision", "LoopState"}
"""Classes whose names meant several things once."""
GONE = {"Part", "Scored", "ScoreAsk", "Rewards"}
"""Names of classes that said something else than what the class was."""
HARD = re.compile(r"(?<![a-z])(?:(?:hangs?|hung)[_\s]+on|(?:tells?|told)[_\s]+of)(?![a-z])", re.IGNORECASE)
"""Idioms that take a second reading: to depend on, to show, to report."""


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
    assert GONE & classes.keys() == set()


def test_every_class_of_the_package_has_a_name_of_its_own() -> None:
    """So a name in a traceback, in a review or in a search means one class; private ones are their module's affair."""
    public = Counter(
        node.name
        for _, tree in trees("src")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert len(public) > 100
    assert {name for name, count in public.items() if count > 1} == set()


def test_sections_of_the_configuration_are_called_settings() -> None:
    """What they configure has the plain name: ``policies.Policy`` is a policy, ``PolicySettings`` says which."""
    kinds = {
        kind.__name__
        for field in Config.model_fields.values()
        for kind in (field.annotation, *get_args(field.annotation))
        if isinstance(kind, type) and issubclass(kind, Section)
    }
    assert {"PolicySettings", "CorpusSettings", "CanarySettings"} <= kinds
    assert {name for name in kinds if not name.endswith("Settings")} == set()


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
    """`PARTS` are a reward's, to decide is what the gate does with a round, and calibration is of probabilities."""
    words: dict[str, set[str]] = {
        "PARTS": {"src/selfemo/training/reward_functions.py"},
        "parts": set(),  # sections of a page, batches of turns
        "decide": {"src/selfemo/steps/decide.py"},
        "decided": set(),
        "calibration": {"src/selfemo/report/score_charts.py"},
        "aligned": set(),  # reweighted, as distribution alignment does; align is a part of the reward
        "judge": set(),  # the reader outside the loop is a value of `evaluation.judge`, and no function
        "judges": set(),
        "normalised": set(),  # a key of copies, or words alone
    }
    found: dict[str, set[str]] = {word: set() for word in words}
    for file, tree in trees("src", "pipelines"):
        for word in found.keys() & ({file.stem} | {n for node in tree.body for n in top(node)}):
            found[word].add(file.as_posix())
    assert found == words


def test_a_score_is_no_likelihood_and_no_address() -> None:
    """Engines give log-likelihoods, and an evaluation is named by its URI; ``--scores`` is an option's name."""
    functions = [
        (file.relative_to("src/selfemo").as_posix(), node)
        for file, tree in trees("src")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    assert {file for file, node in functions if node.name == "score"} == {"steps/score.py"}
    addresses = {
        f"{file}: {node.name}"
        for file, node in functions
        for given in (*node.args.args, *node.args.kwonlyargs)
        if given.arg == "scores" and given.annotation is not None and ast.unparse(given.annotation) == "str"
    }
    assert addresses == {"cli/annotate.py: annotate"}


def test_confidence_is_called_so_and_votes_are_annotators() -> None:
    names = {
        (file.relative_to("src/selfemo").as_posix(), name)
        for file, tree in trees("src")
        for name in named(tree)
        if file.parts[2] in ("method", "training", "annotate", "report")
    }
    assert ("method/rewards.py", "label_weights") in names
    assert {(file, name) for file, name in names if name in ("sure", "trust")} == set()
    assert {file for file, name in names if name == "votes"} == {"method/sets.py"}


def test_no_field_is_called_part() -> None:
    """A part is a reward's; of a checkpoint it is a disk's share, of a page a section, of turns a batch."""
    fields = {
        f"{file}: {node.name}.{line.target.id}"
        for file, tree in trees("src")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    assert "src/selfemo/store/checkpoints.py: Checkpoints.disk" in fields
    assert {field for field in fields if field.rsplit(".", 1)[1] in ("part", "parts")} == set()


def test_no_sentence_takes_a_second_reading() -> None:
    assert all(
        HARD.search(text) for text in ("Results hang on it.", "it tells of a\nrun", "def test_it_tells_of_a_run")
    )
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for folder in (*FOLDERS, "tests", "docs")
        for kind in ("py", "md", "yaml", "html")
        for file in sorted((ROOT / folder).rglob(f"*.{kind}"))
        if file != Path(__file__)
        for match in HARD.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == []


def top(node: ast.stmt) -> set[str]:
    """What a statement of a module gives a name to there."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
