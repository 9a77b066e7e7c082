"""A step's address holds the code that its result depends on, and none besides."""

from __future__ import annotations

import ast
import importlib.util
import logging
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from selfemo import fingerprint
from selfemo.config import Config
from selfemo.config.run import SECTIONS
from selfemo.config.sections import Rewards
from selfemo.context import Context


@cache
def ours() -> dict[str, str]:
    return hashes(fingerprint.PACKAGE)


def hashes(package: Path) -> dict[str, str]:
    return {step: fingerprint.of_modules(fingerprint.entries(step), package) for step in SECTIONS}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package at another place, to be edited."""
    return Path(shutil.copytree(fingerprint.PACKAGE, tmp_path / "elsewhere" / "selfemo"))


def edit(package: Path, module: str, change: Callable[[str], str]) -> None:
    file = package.joinpath(*module.split(".")[1:]).with_suffix(".py")
    before = file.read_text()
    file.write_text(change(before))
    assert file.read_text() != before


def changed(package: Path) -> set[str]:
    return {step for step, found in hashes(package).items() if found != ours()[step]}


def test_every_step_with_an_address_has_an_entry_that_is_a_module() -> None:
    assert set(fingerprint._MORE) <= set(SECTIONS)
    for name in {*sum(map(fingerprint.entries, SECTIONS), ()), *fingerprint.SURROUNDINGS}:
        assert importlib.util.find_spec(name), f"{name} has moved: say where to"


def test_a_copy_at_another_place_has_the_same_addresses(copy: Path) -> None:
    assert changed(copy) == set()


@pytest.mark.parametrize(
    ("module", "steps"),
    [
        ("selfemo.method.gate", {"decide"}),
        ("selfemo.method.flywheel.filtering", {"filter"}),
        ("selfemo.training.warmup", {"warmup", "train"}),
        ("selfemo.training.selfgrpo", {"train"}),
        ("selfemo.method.selfplay", {"generate", "gather", "filter", "train"}),
        ("selfemo.method.reader", {"evaluate", "score", "decide"}),
        (
            "selfemo.method.player",
            {"generate", "gather", "filter", "train", "evaluate", "score", "decide"},
        ),
        ("selfemo.policy.trees.sampler", {"generate", "gather", "train", "evaluate", "score"}),
        ("selfemo.policy.vllm_engine", {"generate", "gather", "train", "evaluate", "score"}),
        ("selfemo.policy.packaged", {"warmup", "generate", "gather", "train", "evaluate", "score"}),
        ("selfemo.policy.taught", {"warmup", "generate", "gather", "train", "evaluate", "score"}),
        ("selfemo.data.dialogue", set(SECTIONS)),
        ("selfemo.config.engines", {"generate", "gather", "train", "evaluate", "score"}),
        # how a run is shown, kept and launched
        ("selfemo.report.figure", set()),
        ("selfemo.config.sections", set()),
        ("selfemo.processes", set()),
        ("selfemo.registry.client", set()),
        ("selfemo.registry.promotion", set()),
        ("selfemo.cluster.launcher", set()),
        ("selfemo.steps.launch", set()),
        ("selfemo.store.artifacts", set()),
        ("selfemo.serving.app", set()),
        ("selfemo.study.page", set()),
    ],
)
def test_an_edit_changes_the_addresses_of_the_steps_that_depend_on_it_and_of_no_other(
    copy: Path, module: str, steps: set[str]
) -> None:
    edit(copy, module, lambda text: text + "\nADDED = 1\n")
    assert changed(copy) == steps


@pytest.mark.parametrize(
    ("function", "steps"),
    [
        ("gate_is_open", {"prepare", "decide"}),
        ("share", {"warmup", "train"}),
        ("predictions", {"decide"}),
    ],
)
def test_what_decides_a_result_counts_where_it_does(copy: Path, function: str, steps: set[str]) -> None:
    """Functions that lay among the surroundings once, where an edit changed no address."""
    files = [f for f in copy.rglob("*.py") if f"\ndef {function}(" in f.read_text()]
    for file in files:
        file.write_text(re.sub(rf"\ndef {function}\(", rf"\ndef {function}(added, ", file.read_text()))
    assert len(files) == 1
    assert steps <= changed(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "# a remark\n" + text,
        lambda text: text.replace('"""', '"""In other words: ', 1),
        lambda text: text.replace("\n\n\n", "\n\n\n\n    # about what follows\n\n", 1),
        lambda text: re.sub(r"\n(    return .*)\n", r"\n\1  # so it is\n", text, count=1),
        lambda text: text.replace("\n", "\r\n"),
    ],
    ids=["comment", "docstring", "blank lines", "comment after code", "line ends"],
)
def test_words_about_the_code_change_nothing(copy: Path, change: Callable[[str], str]) -> None:
    file = copy / "method" / "rewards.py"
    before = file.read_bytes()
    file.write_bytes(change(before.decode()).encode())
    assert file.read_bytes() != before
    assert changed(copy) == set()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = '''a\nb'''", "x = '''a\n\nb'''"),
        ("x = '''a\nb'''", "x = '''a  \nb'''"),
        ("x = f'''{1}\nb'''", "x = f'''{1}\n# b\nb'''"),
        ("x = '#a'", "x = '#b'"),
        ("x = f'#{1}'", "x = f'#{2}'"),
        ("if x:\n    y = 1", "if x:\n    pass\ny = 1"),
        ("class A: 'a'", "class B: 'a'"),
    ],
)
def test_whatever_is_run_counts(tmp_path: Path, before: str, after: str) -> None:
    package = tmp_path / "p"
    package.mkdir()
    found = set()
    for text in (before, after):
        (package / "m.py").write_text(text + "\n")
        found.add(fingerprint.of_modules(("p.m",), package))
    assert len(found) == 2


def test_what_only_type_checkers_read_is_no_dependence(tmp_path: Path) -> None:
    package = tmp_path / "p"
    package.mkdir()
    (package / "m.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import A\nelse:\n    from p import b\n"
        "def f():\n    import p.c\n    from p.c import d\n    import json\n"
    )
    for name in "abcd":
        (package / f"{name}.py").write_text("")
    assert fingerprint.modules(("p.m",), package) == {"p.m", "p.b", "p.c"}


ELSEWHERE = {
    "prepare": {"policy", "gate", "loop"},  # what it takes of them is an input
    "evaluate": {"rewards"},  # figures are made of its answers later: score reads them
    "score": {"corpora"},  # the prepared data has them
    "decide": {"corpora", "rewards", "selfplay", "policy"},  # the scores have them; the last is only told
}
"""Sections that a step's code reads and that its address need not hold by itself."""


def sections_read(step: str) -> set[str]:
    """Sections that a step's own modules name, with all that they import but other steps."""
    found: set[str] = set()
    entries, seen = fingerprint.entries(step), set[str]()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module in seen or (module not in entries and module.startswith("selfemo.steps.")):
            continue
        seen.add(module)
        if fingerprint._surrounds(module):
            continue
        for node in ast.walk(ast.parse(fingerprint._source(module, fingerprint.PACKAGE))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] in ("config", "run_config"):
                found.add(node.attr)
        waiting += fingerprint._imports(module, fingerprint.PACKAGE)
    return found & set(Config.model_fields)


@pytest.mark.parametrize("step", SECTIONS)
def test_what_a_step_reads_of_the_configuration_is_in_its_address(step: str) -> None:
    surroundings = {"run", "workdir", "launch", "store", "mlflow", "cluster"}  # where it runs, not what it comes to
    assert sections_read(step) - surroundings - ELSEWHERE.get(step, set()) <= set(SECTIONS[step])


def test_a_score_is_made_anew_where_its_smoothing_is_another(context: Context) -> None:
    other = Context(context.config.model_copy(update={"rewards": Rewards(smoothing=0.5)}))
    given = {"policy": "p", "prepared": "d"}
    assert context.uri("score", 1, given) != other.uri("score", 1, given)
    assert context.uri("evaluate", 1, given) == other.uri("evaluate", 1, given)


def test_every_step_that_brings_a_policy_to_life_depends_on_what_runs_it() -> None:
    for step in SECTIONS:
        entries = fingerprint.entries(step)
        found = fingerprint.modules(entries)
        lively = [m for m in found if ".steps." in m and ".player()" in fingerprint._source(m, fingerprint.PACKAGE)]
        own = [m for m in lively if m in entries or step in ("score", "gather")]
        assert not own or "selfemo.policy.load" in found, f"{step}: name selfemo.policies beside its module"


def test_every_step_that_asks_what_a_policy_was_taught_or_for_its_files_depends_on_what_tells() -> None:
    for step in SECTIONS:
        entries = fingerprint.entries(step)
        own = fingerprint._source(f"selfemo.steps.{step}", fingerprint.PACKAGE)
        found = fingerprint.modules(entries)
        if ".taught" in own:
            assert "selfemo.policy.taught" in found, step
        if ".policies.find(" in own and re.search(r"\b(base|found)\.directory\b", own):
            assert "selfemo.policy.packaged" in found, step


@pytest.mark.parametrize("other", ["python3.11", "python3.12", "python3.13", "python3.14"])
def test_every_python_comes_to_the_same(other: str) -> None:
    program = shutil.which(other)
    if program is None or subprocess.run([program, "-V"], capture_output=True, check=False).returncode:
        pytest.skip(f"no {other} here")
    code = f"from selfemo import fingerprint as f; print({{s: f.of_step(s) for s in {list(SECTIONS)}}})"
    done = subprocess.run(
        [program, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(fingerprint.PACKAGE.parent)},
    )
    assert done.stdout.strip() == str(ours())


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Config.model_validate({"workdir": str(tmp_path), "store": {"root": (tmp_path / "s").as_uri()}}))


def test_after_an_edit_the_same_command_does_the_step_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    first = context.step("filter", 1, {"rollouts": "r"}, lambda out, _: {"kept": 1})
    assert context.step("filter", 1, {"rollouts": "r"}, lambda out, _: {"kept": 2}) == first
    monkeypatch.setattr(fingerprint, "of_step", lambda name: "edited")
    assert context.step("filter", 1, {"rollouts": "r"}, lambda out, _: {"kept": 2}).result["kept"] == 2


def test_a_result_of_another_version_that_is_used_again_is_said(
    context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("SELFEMO_CODE_VERSION", "0.1.0+abc")
    context.step("filter", 1, {"rollouts": "r"}, lambda out, _: {})
    context.step("filter", 1, {"rollouts": "r"}, lambda out, _: {})
    assert "was made by version" not in caplog.text
    monkeypatch.setenv("SELFEMO_CODE_VERSION", "0.1.0+def-dirty")
    context.step("filter", 1, {"rollouts": "r"}, lambda out, _: {})
    assert (
        "it was made by version 0.1.0+abc; what it depends on is the same in this one, 0.1.0+def-dirty" in caplog.text
    )
