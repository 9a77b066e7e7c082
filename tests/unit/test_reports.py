"""Every command that reports does so with `--json` too, under the keys that docs/cli.md names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from selfemo.cli import main
from selfemo.cli.output import KEYS
from selfemo.config import Config
from selfemo.errors import Exit
from selfemo.local import runner
from tests.conftest import ROOT

SILENT = {
    "collect": "it stands before a server until it is ended",
    "completion": "it prints a script for a shell",
    "play": "it is a conversation",
    "review open": "it serves a page until it is ended",
    "serve": "it serves until it is ended",
}
"""Commands that do not report, and what they do instead."""


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


COMMANDS = dict(_commands(main))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_reports_has_json(name: str) -> None:
    command = COMMANDS[name]
    has = any("--json" in option.opts for option in command.params)
    assert has == hasattr(command.callback, KEYS), "the option comes with the decorator `reports`"
    assert has != (name in SILENT), "decorate it with `reports`, or say in SILENT why it does not report"


def test_no_command_is_excused_that_is_not_there() -> None:
    assert SILENT.keys() <= COMMANDS.keys()


def test_the_documentation_names_all_keys_of_all_commands() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    told = {
        name: tuple(re.findall(r"`(.+?)`", keys))
        for name, keys in re.findall(r"^\| `([a-z -]+)` \| (`.+?`) \|", text, re.MULTILINE)
    }
    assert told == {name: getattr(command.callback, KEYS) for name, command in COMMANDS.items() if name not in SILENT}


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "check"],
        ["data", "show", "--count", "2"],
        ["data", "prepare", "--out", "OUT"],
        ["services", "status", "--set", "workdir=OUT"],
        ["services", "stop", "--set", "workdir=OUT"],
        ["feedback", "show", "--place", "OUT"],
        ["feedback", "expire", "--place", "OUT", "--days", "3"],
        ["feedback", "erase", "--place", "OUT", "sample/collected/a"],
    ],
    ids=" ".join,
)
def test_what_is_printed_is_one_object_and_nothing_else(arguments: list[str], tmp_path: Path) -> None:
    arguments = [one.replace("OUT", str(tmp_path / "out")) for one in arguments]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    (name,) = [name for name in COMMANDS if f"{' '.join(arguments)} ".startswith(f"{name} ")]
    assert tuple(json.loads(done.stdout)) == getattr(COMMANDS[name].callback, KEYS)


@pytest.mark.parametrize(
    ("code", "waits", "succeeded"),
    [(Exit.DONE, ["--wait"], True), (Exit.NO, ["--wait"], False), (Exit.DONE, [], None)],
)
def test_what_was_submitted_is_told_with_its_outcome(
    code: Exit, waits: list[str], succeeded: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "in_checkout", lambda *given: (code, ["id-1"]))
    done = CliRunner().invoke(main, ["submit", "--set", "run=night", *waits, "--json"])
    assert json.loads(done.stdout) == {"run": "night", "id": "id-1", "succeeded": succeeded}
    assert done.exit_code == code


def test_what_could_not_be_submitted_is_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "in_checkout", lambda *given: (Exit.BAD_INPUT, []))
    done = CliRunner().invoke(main, ["submit", "--json"])
    assert (done.exit_code, done.stdout) == (Exit.BAD_INPUT, "")


def test_a_module_of_the_checkout_hands_on_its_code_and_what_it_printed(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = runner.in_checkout("pipelines.compile", Config(), "--help")
    assert (code, said) == (Exit.DONE, capfd.readouterr().out.splitlines())
    assert runner.in_checkout("pipelines.compile", Config(), "--nonsense") == (Exit.BAD_INPUT, [])
