"""What `--json` prints: one JSON object on stdout, whatever else the command, its libraries and its processes say."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from selfemo.cli.base import Cli
from selfemo.cli.output import Report, reports, to_json
from selfemo.errors import Exit, UserError

NOISY = """
import os, subprocess, click
from selfemo.cli.output import Report, reports

@click.command()
@reports("n")
def count():
    print("of Python")
    os.write(1, b"of a library in C\\n")
    subprocess.run(["echo", "of a process"])
    return Report({"n": 3}, "three")

count()
"""


def test_nothing_else_is_on_stdout_whoever_prints_it() -> None:
    told = subprocess.run([sys.executable, "-c", NOISY, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == {"n": 3}
    assert {"of Python", "of a library in C", "of a process"} <= set(told.stderr.splitlines())
    plain = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    assert sorted(plain.stdout.splitlines()) == ["of Python", "of a library in C", "of a process", "three"]


def _command(report: Report) -> click.Command:
    @click.command()
    @reports("a", "b")
    def command() -> Report:
        return report

    return command


def test_the_keys_come_in_their_order_and_the_code_is_the_reports() -> None:
    done = CliRunner().invoke(_command(Report({"b": 1, "a": Path("x")}, "no", Exit.NO)), ["--json"])
    assert (list(json.loads(done.stdout).items()), done.exit_code) == ([("a", "x"), ("b", 1)], 1)
    assert CliRunner().invoke(_command(Report({"b": 1, "a": 2}, "for people")), []).output == "for people\n"


@pytest.mark.parametrize("values", [{"a": 1}, {"a": 1, "b": 2, "c": 3}])
def test_a_report_of_other_keys_than_were_named_is_a_defect_with_and_without_json(values: dict[str, Any]) -> None:
    for arguments in (["--json"], []):
        assert isinstance(CliRunner().invoke(_command(Report(values)), arguments).exception, TypeError)


def test_what_failed_is_said_on_stderr_and_stdout_is_empty() -> None:
    @click.group(cls=Cli)
    def group() -> None:
        pass

    @group.command()
    @reports("a")
    def fail() -> Report:
        raise UserError("bad", where="here", fix="mend it")

    done = CliRunner().invoke(group, ["fail", "--json"])
    assert (done.stdout, done.stderr, done.exit_code) == ("", "selfemo: here: bad\n  fix: mend it\n", Exit.BAD_INPUT)


@dataclass
class Row:
    share: float
    counts: Any


def test_figures_of_any_library_have_a_form_and_what_is_no_number_is_null() -> None:
    row = Row(math.nan, {"x": np.array([1, 2]), "y": np.float32(0.5), "z": (math.inf, None, True)})
    assert json.loads(to_json(row)) == {
        "share": None,
        "counts": {"x": [1, 2], "y": 0.5, "z": [None, None, True]},
    }
    with pytest.raises(TypeError):
        to_json({"a": object()})


@given(st.text())
def test_no_text_controls_the_terminal_and_none_is_lost(text: str) -> None:
    told = to_json({"a": text})
    assert all(c.isprintable() or c == "\n" for c in told)
    assert "://" in text or json.loads(told) == {"a": text}


def test_credentials_of_addresses_are_left_out() -> None:
    assert json.loads(to_json(["https://bob:PW@h/x"])) == ["https://***@h/x"]
