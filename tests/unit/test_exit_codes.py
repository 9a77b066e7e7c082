"""Exit codes: one table, in code and documentation, and no other number anywhere."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from selfemo.cli.base import Cli
from selfemo.errors import Exit
from tests.conftest import ROOT

SOURCES = [file for top in ("src", "pipelines", "components", "manifests") for file in (ROOT / top).rglob("*.py")]
ENDS = ("exit", "_exit", "SystemExit", "Exit")


def _numbers(tree: ast.AST) -> Iterator[int]:
    """Lines that end a process with a number of their own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = node.args[0]
            ways = (given.body, given.orelse) if isinstance(given, ast.IfExp) else (given,)
            if name in ENDS and any(isinstance(w, ast.Constant) or getattr(w, "id", "").isupper() for w in ways):
                yield node.lineno
        if isinstance(node, ast.FunctionDef) and node.name in ("main", "_main"):
            for back in ast.walk(node):
                if not isinstance(back, ast.Return) or not isinstance(back.value, ast.Constant):
                    continue
                if isinstance(back.value.value, int):
                    yield back.lineno


def test_a_number_that_ends_a_process_is_seen() -> None:
    bad = "import sys\nsys.exit(3)\nraise SystemExit(1)\ndef main():\n    return 2\nsys.exit(MISSING if x else 0)\n"
    assert sorted(_numbers(ast.parse(bad))) == [2, 3, 5, 6]


def test_no_process_ends_with_a_number_that_is_not_in_the_table() -> None:
    assert len(SOURCES) > 200
    found = {str(f.relative_to(ROOT)): [*_numbers(ast.parse(f.read_text(encoding="utf-8")))] for f in SOURCES}
    assert {file: lines for file, lines in found.items() if lines} == {}


def test_the_documentation_has_the_same_table() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \|$", text, re.MULTILINE)
    assert rows == [(str(int(code)), code.meaning) for code in Exit]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], Exit.DONE),
        (["data", "show", "--split", "tran"], Exit.BAD_INPUT),
        (["no-such-command"], Exit.BAD_INPUT),
        (["run", "--set", "loop.rounds=-1", "--json"], Exit.BAD_INPUT),
    ],
)
def test_a_process_ends_with_it(arguments: list[str], code: Exit) -> None:
    done = subprocess.run([sys.executable, "-m", "selfemo", *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("ended", [KeyboardInterrupt, click.Abort])
def test_an_interrupt_and_a_question_answered_with_no_are_one(ended: type[BaseException]) -> None:
    @click.group(cls=Cli)
    def group() -> None:
        pass

    @group.command()
    def stop() -> None:
        raise ended

    done = CliRunner().invoke(group, ["stop"])
    assert (done.exit_code, done.stdout) == (Exit.INTERRUPTED, "")
    assert "the same command goes on" in done.stderr


def test_a_reader_that_has_gone_is_no_defect(tmp_path: Path) -> None:
    there, here = os.pipe()
    os.close(there)
    done = subprocess.run(
        [sys.executable, "-m", "selfemo", "data", "show", "--count", "60"], stdout=here, stderr=subprocess.PIPE
    )
    os.close(here)
    assert (done.returncode, done.stderr) == (Exit.NO_READER, b"")
    assert int(Exit.NO_READER) == 128 + signal.SIGPIPE
