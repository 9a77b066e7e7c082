"""The command line as its user meets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selfemo import reachable
from selfemo.cli import main
from selfemo.cli.canary import canary
from selfemo.config import Config
from selfemo.context import Context
from selfemo.store.artifacts import Store


def selfemo(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.fixture
def with_config(small: Config, tmp_path: Path) -> list[str]:
    path = tmp_path / "config.yaml"  # JSON is YAML
    path.write_text(small.model_copy(update={"run": "cli"}).to_json())
    return ["--config", str(path)]


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = selfemo(command, "--help")
    assert result.exit_code == 0
    assert f"selfemo {command}" in result.output.split("Example")[1]
    assert command in selfemo("--help").output


@pytest.mark.parametrize("command", sorted(canary.commands))
def test_every_command_of_the_canary_has_help_with_an_example(command: str) -> None:
    result = selfemo("canary", command, "--help")
    assert result.exit_code == 0
    assert f"selfemo canary {command}" in result.output.split("Example")[1]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from selfemo.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'kfp', 'boto3', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["run", "--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["run", "--set", "loop.rounds=-1"], "--set loop.rounds=-1: loop.rounds"),
        (["run", "--set", "corpora=[{name: meld, path: /nowhere}]"], "/nowhere: no such directory"),
        (["run", "--set", "launch.processes=3"], "grpo.prompts_per_step: 2 cannot be dealt out to 3 processes"),
        (["stopped-rounds", "--within", "-1"], "Invalid value for '--within'"),
        (["data", "check", "--corpus", "meldd"], "no corpus 'meldd'"),
        (["data", "show", "--split", "tran"], "splits: train, dev, test"),
        (
            ["evaluate", "--policy", "of/x", "--corpus", "MELD"],
            "--corpus: no corpus 'MELD'\n  fix: use one of sample, meld",
        ),
        (["evaluate", "--policy", "of/x", "--corpus", "meld"], "meld needs a path"),
        (["evaluate", "--policy", "of/x", "--path", "/x"], "name the corpus: --corpus meld"),
        (["evaluate", "--policy", "s3://[::1/x", "--set", "store.root=file:///x"], "cannot store at 's3://[::1/x'"),
        (["data", "check", "--corpus", "meld", "--path", "s3://[::1/x"], "s3://[::1/x/: not an address"),
        (["data", "prepare", "--out", "/proc/x"], "/proc/x: No such file or directory"),
        (["data", "show", "--count", "-1"], "Invalid value for '--count'"),
        (["serve", "--port", "99999"], "Invalid value for '--port'"),
        (["services", "status", "--set", "workdir=/etc/hostname"], "Not a directory"),
        (["train", "--policy", "of/x"], "give --prepared alone, or --prepared, --policy and --samples"),
        (["promote", "--version", "1", "--force"], "--force needs --reason"),
        (["generate"], "Missing option '--policy'"),
    ],
)
def test_bad_input_is_one_message_with_a_fix_and_exit_code_2(arguments: list[str], problem: str) -> None:
    result = selfemo(*arguments)
    assert result.exit_code == 2
    assert problem in result.output
    assert "Traceback" not in result.output


def test_data_is_prepared_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "data" / "sample"
    result = selfemo("data", "prepare", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.iterdir()) == ["dev.jsonl", "test.jsonl", "train.jsonl"]
    again = selfemo("data", "prepare", "--out", str(out))
    assert again.exit_code == 2
    assert "is already there" in again.output
    bad = tmp_path / "meld"
    bad.mkdir()
    header = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\n"
    for split in ("train", "dev"):
        (bad / f"{split}_sent_emo.csv").write_text(header + "Hi there,Ross,joy,0,0\nOh,Ross,glee,0,1\n")
    failed = selfemo("data", "prepare", "--corpus", "meld", "--path", str(bad), "--out", str(tmp_path / "m"))
    assert failed.exit_code == 2
    assert "train_sent_emo.csv:3: column Emotion" in failed.output
    assert not (tmp_path / "m").exists()
    skipped = selfemo(
        "data", "prepare", "--corpus", "meld", "--path", str(bad), "--out", str(tmp_path / "m"), "--skip-bad"
    )
    assert skipped.exit_code == 0
    assert "quarantined rows: 2" in skipped.output
    shown = selfemo("data", "show", "--corpus", "meld", "--path", str(bad))
    assert "Ross: Hi there" in shown.output
    assert "quarantined rows: 2; the first:" in shown.output  # never less than there is without a word
    quarantine = (tmp_path / "m" / "quarantine.jsonl").read_text().splitlines()
    assert "glee" in json.loads(quarantine[0])["row"]


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (["filter", "--rollouts", "URI"], "--rollouts URI: train made this\n  fix: give the URI of what gather"),
        (["generate", "--policy", "of/x", "--prepared", "URI"], "--prepared URI: train made this"),
        (["train", "--prepared", "URI"], "--prepared URI: train made this"),
        (["train", "--prepared", "PREPARED", "--policy", "of/x", "--samples", "URI"], "--samples URI: train made this"),
    ],
)
def test_an_artifact_of_another_step_is_refused(command: list[str], wanted: str, tmp_path: Path) -> None:
    root = (tmp_path / "store").as_uri()
    store = Store(root, tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    uris = {name: store.uri(step) for name, step in (("URI", "train"), ("PREPARED", "prepare"))}
    for uri in uris.values():
        store.publish(tmp_path / "empty", uri, step=uri.rsplit("/", 1)[1])
    result = selfemo(*(uris.get(word, word) for word in command), "--set", f"store.root={root}")
    assert result.exit_code == 2
    assert wanted.replace("URI:", f"{uris['URI']}:") in result.output


@pytest.mark.parametrize(
    ("emotion", "command", "code"), [("Mad", "show", 0), ("Bored", "check", 2), ("Bored", "check --skip-bad", 0)]
)
def test_nothing_in_a_corpus_controls_the_terminal(emotion: str, command: str, code: int, tmp_path: Path) -> None:
    title = "\\u001b]0;mine\\u0007"
    turn = f'{{"utterance_id": "{title}", "transcript": "Hi{title}", "emotion": "{emotion}"}}'
    scenes = f'{{"episodes": [{{"scenes": [{{"scene_id": "a{title}b", "utterances": [{turn}]}}]}}]}}'
    for short in ("trn", "dev", "tst"):
        (tmp_path / f"emotion-detection-{short}.json").write_text(scenes)
    result = selfemo("data", *command.split(), "--corpus", "emorynlp-json", "--path", str(tmp_path))
    assert result.exit_code == code
    assert "]0;mine" in result.output
    assert not {"\x1b", "\x07"} & set(result.output)


def test_data_check_and_show_say_what_is_there() -> None:
    assert "train │ 176 │ 1403" in re.sub(r" +", " ", selfemo("data", "check").output)
    shown = selfemo("data", "show", "--split", "dev", "--count", "1").output
    assert "sample/dev/" in shown
    assert "[joy]" in shown


def test_the_steps_of_a_round_one_by_one(with_config: list[str], small: Config, tmp_path: Path) -> None:
    from selfemo import steps
    from selfemo.loop import LoopState

    config = small.model_copy(update={"run": "cli"})
    prepared = steps.prepare(config).uri

    def last(*arguments: str) -> str:
        result = selfemo(*arguments, *with_config)
        assert result.exit_code == 0, result.output
        return next(line for line in result.stdout.splitlines() if line.startswith("s3://"))

    policy = last("train", "--prepared", prepared)
    rollouts = last("generate", "--policy", policy, "--prepared", prepared)
    samples = last("filter", "--rollouts", rollouts)
    challenger = last("train", "--policy", policy, "--samples", samples, "--prepared", prepared)
    assert challenger != policy
    scores = [steps.evaluation(config, p, prepared, i).uri for i, p in enumerate((policy, challenger))]
    state, _ = steps.decide(config, LoopState(), policy, scores[0], 0)
    steps.decide(config, state, challenger, scores[1], 1)
    registry = Context(config).registry
    versions = {v.source: str(v.version) for v in registry.client.search_model_versions("name='self-emo'")}

    first, second = versions[policy], versions[challenger]
    # Other tests promote in this registry too, and a rollback goes to the last version that was promoted.
    assert selfemo("promote", "--version", first, "--force", "--reason", "to begin", *with_config).exit_code == 0
    strict = [*with_config, "--set", "gate.min_gain=0.9"]
    closed = selfemo("promote", "--version", second, *strict)
    assert closed.exit_code == 2
    assert "is not promoted" in closed.output
    forced = selfemo("promote", "--version", second, "--force", "--reason", "we like it", *strict)
    assert f"version {second} (was {first}): we like it" in forced.output
    assert "the champion already" in selfemo("promote", "--version", second, *with_config).output
    back = selfemo("rollback", "--reason", "it shouts", "--json", *with_config)
    told = json.loads(back.stdout)
    assert (told["model"], told["champion"], told["canary"]) == ("self-emo", first, None)
    assert f"version {first} (was {second})" in told["said"][0]

    named = f"models:/self-emo/{second}"
    asked = ["evaluate", "--policy", named, "--corpus", "sample", "--out", str(tmp_path / "out"), "--json"]
    result = selfemo(*asked, *with_config)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["scores"]["sample"]
    fresh = json.loads((tmp_path / "out" / "metrics.json").read_text())["sample"]
    published = json.loads((Context(config).store.fetch(scores[1]) / "metrics.json").read_text())["sample"]
    assert fresh == published  # the figure of the table, from the registered model
    assert told["weighted_f1"] == fresh["weighted_f1"]


def test_ui_and_services_say_where_things_are(small: Config, with_config: list[str]) -> None:
    selfemo("services", "start", *with_config)
    registry = Context(small.model_copy(update={"run": "cli"})).registry
    run, experiment = (f"{registry.tracking_uri}/{page}" for page in (registry.page(registry.parent), "#/experiments/"))
    said = selfemo("ui", *with_config).output.splitlines()
    assert said[0] == run
    assert said[1].startswith(experiment)
    status = selfemo("services", "status", *with_config).output
    assert "s3 " in status
    assert "mlflow " in status
    assert selfemo("services", "start", *with_config).output == status


def test_nothing_running_is_said_too(tmp_path: Path) -> None:
    elsewhere = ["--set", f"workdir={tmp_path}"]
    assert "nothing is running" in selfemo("services", "status", *elsewhere).output
    assert "nothing was running" in selfemo("services", "stop", *elsewhere).output


def test_a_server_that_cannot_be_used_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    own = [f"workdir={tmp_path}", "store.root=s3://nowhere", "store.endpoint=http://127.0.0.1:9"]
    own.append(f"mlflow.tracking_uri=sqlite:///{tmp_path / 'm.db'}")
    settings = [x for o in own for x in ("--set", o)]
    monkeypatch.setattr(reachable, "answers", lambda *given, **named: None)  # to reach its client
    result = selfemo("filter", "--rollouts", "s3://nowhere/x", *settings)
    assert result.exit_code == 2
    assert "Unable to locate credentials" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["fetch", "serve", "evaluate"])
def test_weights_elsewhere_start_no_servers_either(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = ["--out", str(tmp_path / "q")] if command == "fetch" else []
    result = selfemo(command, "--policy", (tmp_path / "none").as_uri(), *out)
    assert (result.exit_code, "nothing was run here" in result.output) == (2, True)
    assert not (tmp_path / ".selfemo" / "services").exists()
