"""Every command and setting of the documentation exists: what a page has a reader type is what the code takes.

The blocks of tutorial.md and contributing.md, and the notebook, are executed by tests of their own. All others are read
here: each is shell, a session (``console``, which is executed), a configuration, a label file, Python, or marked as
``text``, which is shown and not typed.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import yaml
from click.testing import CliRunner

from selfemo.cli import main
from selfemo.config import Config, load
from selfemo.data.label_file import parse_text
from tests.docs.pages import ROOT, Block, blocks, code, pages
from tests.docs.shell import simple_commands

EXECUTED = {"docs/tutorial.md": ("console", 'console title="exit code 2"'), "docs/contributing.md": ("python", "yaml")}
"""By test_tutorial.py and test_contributing.py."""
ALL = [block for page in pages() for block in blocks(page) if block.language not in EXECUTED.get(block.page, ())]
PLACEHOLDERS = {"FILE": "configs/demo.yaml", "N": "1", "SEED": "7"}
"""What stands for something of the reader's where the command wants a number or a file that is there."""

GONE = {"selfplay.predictions", "selfplay.readings", "evaluation.readings", "flywheel.unanimous"}
"""Settings that deploy.md says are refused."""
SHARED = [ROOT / "benchmarks" / f"{name}.py" for name in ("harness", "subjects", "trial")]
"""Options that benchmarks have in common."""
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^(\w+) [?:]?=", MAKEFILE, re.MULTILINE))
ELSEWHERE = {
    "aws",
    "cd",
    "curl",
    "docker",
    "eval",
    "export",
    "for",
    "git",
    "kubectl",
    "pg_dump",
    "pip",
    "source",
    "ssh-keygen",
}
"""Programs that are not ours."""
OURS = {"selfemo", "make", "python", "images/build.sh"}


def shell(block: Block) -> list[list[str]]:
    """The commands of a block, or none if it is no shell."""
    try:
        found = list(simple_commands(block.text))
    except ValueError:
        return []
    return found if found and found[0][0] in OURS | ELSEWHERE else []


def setting(block: Block) -> dict[str, Any] | None:
    """The sections of a configuration that a block holds, or None if it is none."""
    try:
        data = yaml.safe_load(block.text)
    except yaml.YAMLError:
        return None
    return data if isinstance(data, dict) and set(data) <= set(Config.model_fields) else None


SHELL = {block: commands for block in ALL if block.language in ("", "sh") and (commands := shell(block))}
CONSOLE = [block for block in ALL if block.language == "console"]
SETTINGS = [block for block in ALL if block not in SHELL and block.language in ("", "yaml") and setting(block)]
PYTHON = [block for block in ALL if block.language == "python"]
YAML = {block: yaml.safe_load(block.text) for block in ALL if block.language == "yaml" and block not in SETTINGS}
LABELS = [block for block, data in YAML.items() if isinstance(data, dict) and "labels" in data]
OVERLAY = [block for block in YAML if block.text.startswith(("# values.yaml", "# kustomization.yaml"))]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each of our commands is called with; none does anything."""
    given: list[dict[str, Any]] = []

    def replace(command: click.Command) -> None:
        if isinstance(command, click.Group):
            for below in command.commands.values():
                replace(below)
        else:
            monkeypatch.setattr(command, "callback", lambda **values: given.append(values))

    replace(main)
    return given


def lines(program: str) -> list[Any]:
    """All command lines of a program, each named by its place."""
    found = [(b, words) for b, commands in SHELL.items() for words in commands if words[0] == program]
    return [pytest.param(words[1:], id=f"{block} {' '.join(words[:3])}") for block, words in found]


@pytest.mark.parametrize("block", ALL, ids=str)
def test_every_block_is_of_a_kind_that_is_checked(block: Block) -> None:
    kinds = (SHELL, CONSOLE, SETTINGS, PYTHON, LABELS, OVERLAY)
    assert block.language == "text" or any(block in kind for kind in kinds), (
        f"{block} is neither commands nor settings: fence what is only shown as ```text\n{block.text}"
    )


@pytest.mark.parametrize("words", lines("selfemo"))
def test_the_command_line_takes_it(
    words: list[str], taken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SELFEMO_DATA", "/data")
    try:
        main.main([PLACEHOLDERS.get(word, word) for word in words], standalone_mode=False)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    assert len(taken) == 1
    overrides = [re.sub("=(SEED|N)$", "=1", override) for override in taken[0].get("overrides", ())]
    if "overrides" in taken[0]:
        path = taken[0]["path"]
        load(path if path and path.is_file() else None, overrides)


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_the_command_prints_what_the_page_shows(block: Block) -> None:
    command, *shown = block.text.splitlines()
    done = CliRunner().invoke(main, shlex.split(command)[2:])
    assert (done.exit_code, done.output.splitlines()) == (0, shown)


@pytest.mark.parametrize("words", lines("make"))
def test_the_makefile_has_the_target(words: list[str]) -> None:
    targets = [word for word in words if "=" not in word]
    assert set(targets) <= TARGETS
    assert {word.partition("=")[0] for word in words if "=" in word} <= VARIABLES


@pytest.mark.parametrize("words", lines("python"))
def test_the_script_is_there_and_knows_its_options(words: list[str]) -> None:
    if words[0] == "-m":
        spec = importlib.util.find_spec(words[1])
        assert spec and spec.origin
        file, rest = Path(spec.origin), words[2:]
    else:
        file, rest = ROOT / words[0], words[1:]
    known = "".join(f.read_text(encoding="utf-8") for f in (file, *SHARED))
    assert [word for word in rest if word.startswith("--") and f'"{word}"' not in known and word != "--"] == []


@pytest.mark.parametrize("words", lines("kubectl"))
def test_what_is_applied_is_in_the_manifests(words: list[str]) -> None:
    for flag, where in pairwise(words):
        if flag == "-k":
            assert (ROOT / where / "kustomization.yaml").is_file()


@pytest.mark.parametrize("words", lines("curl"))
def test_the_server_has_the_route_and_takes_the_body(words: list[str]) -> None:
    app = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src" / "selfemo" / "serving").glob("*.py"))
    route = re.sub(r"^.*?localhost:\d+", "", words[0])
    assert f'"{route}"' in app
    json.loads(words[words.index("-d") + 1])


@pytest.mark.parametrize("block", SETTINGS, ids=str)
def test_the_configuration_takes_it(block: Block, tmp_path: Path) -> None:
    data = setting(block) or {}
    for corpus in data.get("corpora", ()):
        if "labels" in corpus:
            file = tmp_path / corpus["labels"]
            file.parent.mkdir(parents=True)
            file.write_text("name: some\nlabels: [calm, glad]\n")
    if "canary" in data:  # `make compile` fills in the series
        for server in ("champion", "canary"):
            data["canary"][server].setdefault("series", f"job='{server}'")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(data))
    load(file)


@pytest.mark.parametrize("block", LABELS, ids=str)
def test_the_label_file_is_one(block: Block) -> None:
    assert len(parse_text(block.text, str(block)).space())


@pytest.mark.parametrize("block", OVERLAY, ids=str)
def test_the_overlay_s_values_and_components_are_in_the_manifests(block: Block) -> None:
    manifests = ROOT / "manifests"
    everything = "".join(file.read_text(encoding="utf-8") for file in manifests.rglob("*.yaml"))
    for name in YAML[block]:
        if block.text.startswith("# values.yaml"):
            assert re.search(rf"\b{name}\b", everything), name
        else:
            assert (manifests / "overlays" / "dev" / name / "kustomization.yaml").is_file(), name


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_the_python_is_python(block: Block) -> None:
    ast.parse(block.text)


def mentioned(pattern: str) -> list[Any]:
    """What is marked as code inside of a line and fits a pattern, each once, with the page that has it first."""
    found = {text: page for page in reversed(pages()) for text in code(page) if re.fullmatch(pattern, text)}
    return [pytest.param(text, id=f"{page} {text}") for text, page in found.items()]


def option_names(command: click.Command) -> set[str]:
    """What may stand after a command."""
    names = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return names | {"--help", "-h"}


@pytest.mark.parametrize("text", mentioned(r"selfemo [a-z].*"))
def test_a_command_that_is_mentioned_is_there(text: str) -> None:
    command: click.Command = main
    for word in text.split()[1:]:
        if isinstance(command, click.Group) and not word.startswith("-"):
            for choice in word.split("|"):
                assert choice in command.commands, f"`{text}`: {command.name} has no {choice}"
            command = command.commands[word.split("|")[0]]
        elif word.startswith("--"):
            assert word.partition("=")[0] in option_names(command), f"`{text}`: no {word}"


@pytest.mark.parametrize("text", mentioned(r"make [a-z-]+"))
def test_a_target_that_is_mentioned_is_there(text: str) -> None:
    assert text.split()[1] in TARGETS


def has(model: Any, names: list[str]) -> bool:
    """Whether sections within sections have a key."""
    for name in names:
        if name not in getattr(model, "model_fields", {}):
            return False
        annotation = model.model_fields[name].annotation
        model = next((a for a in (annotation, *get_args(annotation)) if hasattr(a, "model_fields")), None)
    return True


SECTION = "|".join(name for name, field in Config.model_fields.items() if hasattr(field.annotation, "model_fields"))


@pytest.mark.parametrize("text", mentioned(rf"({SECTION})(\.[a-z_]+)+(: .*)?"))
def test_a_setting_that_is_mentioned_is_there(text: str) -> None:
    name, _, value = text.partition(": ")
    if name.endswith((".py", ".md", ".yaml", ".json")):
        return
    assert has(Config, name.split(".")) is (name not in GONE)
    if value:
        load(None, [f"{name}={value}"])
