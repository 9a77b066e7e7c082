from __future__ import annotations

from pathlib import Path

import pytest

from selfemo import config
from selfemo.config import Config
from selfemo.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    assert config.load(path).run


def test_a_configuration_travels_as_json() -> None:
    settings = config.load(None, ["loop.rounds=3", "rewards.affinity={anger~disgust: 0.5}"])
    assert Config.from_json(settings.to_json()) == settings
    with pytest.raises(UserError, match=r"config: loop\.rounds"):
        Config.from_json('{"loop": {"rounds": 99}}')


def test_overrides_are_yaml_and_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("loop: {rounds: 2}\ncorpora: [{name: sample}]\n")
    settings = config.load(path, ["loop.rounds=4", "evaluation.dialogues=null"])
    assert settings.loop.rounds == 4
    assert settings.evaluation.dialogues is None


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("run: x\nloop:\n  rounds: 99\n", ":3", "loop.rounds"),
        ("run: x\nlop: {}\n", ":2", "Extra inputs"),
        ("run: x\ngrpo:\n  confidence_low: 0.5\n  confidence_high: 0.1\n", ":4", "confidence_high is below"),
        ("run: x\ngrpo:\n  confidence_low: 0.5\n", ":2", "confidence_high is below"),
        ("run: x\ncorpora:\n  - name: sample\n  - name: meldd\n", ":4", "no such corpus; known: sample, meld"),
        (
            "run: x\ncorpora:\n  - name: sample\n  - name: sample\n",
            ":2",
            "corpora: sample is named 2 times: name each corpus once",
        ),
        (
            "run: x\ncorpora:\n  - {name: iemocap6, path: a}\n  - {name: meld}\n  - {name: iemocap4, path: a}\n",
            ":2",
            "corpora: iemocap6 and iemocap4 hold the same conversations: name one of them",
        ),
        (
            "run: x\ncorpora:\n  - {name: emorynlp-json, path: a}\n  - {name: emorynlp, path: b}\n",
            ":2",
            "corpora: emorynlp-json and emorynlp hold the same conversations: name one of them",
        ),
        (
            "run: x\ncluster:\n  environment: {HTTPS_PROXY: 'http://user:pw@proxy'}\n",
            ":3",
            "holds credentials",
        ),
        ("run: x\ncluster:\n  environment: {NO PROXY: x}\n", ":3", "'NO PROXY' is no name of a variable"),
        ("run: x\ncluster:\n  environment: {HTTP_PROXY: 'user:pw@proxy'}\n", ":3", "HTTP_PROXY holds a password"),
        ("run: x\ncluster:\n  environment: {AWS_SECRET_ACCESS_KEY: x}\n", ":3", "put it into cluster.secret"),
        ("run: x\ncluster:\n  environment: {SELFEMO_TRAINER: pod}\n", ":3", "is set by the pipeline itself"),
        ("run: [\n", ":2", "not YAML"),
        ("run: x\nseed: 010\n", ":2", "'010' is one number to some readers of YAML"),
        ("run: x\nloop:\n  rounds: 1:05\n", ":3", "'1:05' is one number to some readers of YAML"),
        ("just text\n", "", "not a mapping"),
        ("run: Bad Name\n", ":1", "run"),
    ],
)
def test_a_bad_file_is_an_error_that_names_the_line(tmp_path: Path, text: str, place: str, problem: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        config.load(path)
    assert f"c.yaml{place}: " in str(error.value)
    assert problem in str(error.value)


@pytest.mark.parametrize("setting", ["disk", "shm", "memory_request", "cpu_request"])
def test_a_quantity_that_is_none_is_named_by_its_setting_alone(tmp_path: Path, setting: str) -> None:
    """These may be empty, too: which of both was tried is nothing that anybody wrote."""
    name = f"cluster.pods.generate.{setting}"
    problem = f"{name}: 'lots' is no quantity: write it as Kubernetes does"
    with pytest.raises(UserError) as error:
        config.load(None, [f"{name}=lots"])
    assert str(error.value).startswith(f"--set {name}=lots: {problem}")
    path = tmp_path / "c.yaml"
    path.write_text(f"run: x\ncluster:\n  pods:\n    generate:\n      {setting}: lots\n")
    with pytest.raises(UserError) as error:
        config.load(path)
    assert f"c.yaml:5: {problem}" in str(error.value)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("loop.rounds", "--set loop.rounds: not an override\n  fix: write it as loop.rounds="),
        ("loop.rounds=x", "--set loop.rounds=x: "),
        ("run.a=1", "--set run.a=1: run is not a section"),
        (
            "corpora=[{name: sample}, {name: sample}]",
            "--set corpora=[{name: sample}, {name: sample}]: corpora: sample is",
        ),
        ("a={", "--set a={: the value is not YAML"),
        (
            "cluster.environment.A=1",
            "--set cluster.environment.A=1: cluster.environment.A: Input should be a valid string\n"
            "  fix: write it as text, in quotes that YAML sees: '1' in a file, "
            "--set \"cluster.environment.A='1'\" in a shell",
        ),
        ("policy.base=null", "--set policy.base=null: policy.base: Input should be a valid string"),
        ("seed=1:30", "--set seed=1:30: the value is not YAML: '1:30' is one number to some readers of YAML"),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, problem: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("run: x\n")
    with pytest.raises(UserError) as error:
        config.load(path, [override])
    assert str(error.value).startswith(problem)


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(UserError, match="no such file"):
        config.load(Path("nowhere.yaml"))


def test_a_step_depends_on_its_own_sections_only() -> None:
    plain, gate, play = config.load(), config.load(None, ["gate.min_gain=0.1"]), config.load(None, ["selfplay.tau=0.5"])
    assert plain.digest("train") == gate.digest("train")
    assert plain.digest("decide") != gate.digest("decide")
    assert plain.digest("generate") != play.digest("generate")
    assert plain.digest("filter") == play.digest("filter")
    assert plain.digest("train") != plain.digest("filter")


def test_the_old_name_of_the_precision_is_refused_with_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("run: x\npolicy:\n  bf16: true\n")
    with pytest.raises(UserError, match=r"c\.yaml:2: policy: bf16 is precision now: auto"):
        config.load(file)


def test_a_variable_that_only_sounds_like_a_secret_is_none() -> None:
    told = config.load(
        None, ["cluster.environment={TOKENIZERS_PARALLELISM: 'false', HTTPS_PROXY: 'http://proxy:3128'}"]
    )
    assert told.cluster.variables["TOKENIZERS_PARALLELISM"] == "false"


REPLAY_OFF = ["grpo.replay=0", "warmup.dialogues_per_step=12"]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["launch.processes=3", *REPLAY_OFF], "grpo.prompts_per_step: 4 cannot be dealt out to 3 processes"),
        (["launch.processes=2"], "grpo.replay: 1 cannot be dealt out to 2 processes"),
        (["launch.processes=8"], "warmup.dialogues_per_step: 4 cannot be dealt out to 8 processes"),
        (["cluster.trainer=trainjob", "cluster.nodes=3", *REPLAY_OFF], "4 cannot be dealt out to 3 processes"),
    ],
)
def test_what_does_not_come_out_even_among_the_processes_is_refused(overrides: list[str], problem: str) -> None:
    settings = config.load(None, ["grpo.prompts_per_step=4", *overrides])
    with pytest.raises(UserError) as error:
        settings.check_dealt_out("warmup" if problem.startswith("warmup") else "train")
    assert problem in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["launch.processes=2", "grpo.replay=2"],
        ["launch.processes=8", "warmup.dialogues=0", "grpo.prompts_per_step=8"],  # nothing to warm up on, or to replay
        ["launch.processes=3", "loop.rounds=0", "warmup.dialogues_per_step=6"],  # no SELF-GRPO
        ["launch.processes=3", "grpo.objective=cross-entropy", "warmup.epochs=0"],  # it rounds up
        ["cluster.nodes=1", "launch.processes=1"],
    ],
)
def test_what_a_run_does_not_deal_out_may_be_odd(overrides: list[str]) -> None:
    settings = config.load(None, overrides)
    settings.check_dealt_out("warmup")
    settings.check_dealt_out("train")


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("loop.rouns", "3", "loop.rounds"),
        ("lop.rounds", "3", "loop"),
        ("rouns", "3", "loop.rounds"),  # the section is left out
        ("learning_rate", "1", "warmup.learning_rate or grpo.learning_rate"),
        ("cluster.pods.train.memry", "1Gi", "cluster.pods.train.memory"),
        ("canary.shar", "5", "canary.share"),  # of a section that may be none
    ],
)
def test_a_setting_that_is_none_names_the_one_that_is_most_like_it_in_a_file_and_as_an_override(
    tmp_path: Path, name: str, value: str, meant: str
) -> None:
    file = tmp_path / "c.yaml"
    sections, inner = name.split("."), value
    for section in reversed(sections):
        inner = f"{{{section}: {inner}}}"
    file.write_text(f"{inner}\n")
    for given, place in (((file, []), f"{file}:1"), ((None, [f"{name}={value}"]), f"--set {name}={value}")):
        with pytest.raises(UserError) as raised:
            config.load(*given)
        assert (raised.value.where, raised.value.fix) == (place, f"did you mean {meant}? Else remove it")


def test_a_misspelt_key_of_a_corpus_is_what_is_told_and_not_that_its_name_is_missing() -> None:
    with pytest.raises(UserError, match=r"corpora\.0\.nme") as raised:
        config.load(None, ["corpora=[{nme: sample}]"])
    assert raised.value.fix == "did you mean corpora.0.name? Else remove it"


def test_a_setting_that_is_like_none_is_said_to_be_wrong_and_nothing_is_guessed() -> None:
    with pytest.raises(UserError) as raised:
        config.load(None, ["grpo.zzz=1"])
    assert raised.value.fix == "remove it or correct its name"


def test_a_section_of_the_file_is_blamed_for_itself_and_one_that_only_overrides_make_on_them(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("run: x\nlop: {}\n")
    with pytest.raises(UserError) as raised:
        config.load(file, ["lop.rounds=3"])
    assert raised.value.where == f"{file}:2"
    file.write_text("run: x\n")
    with pytest.raises(UserError) as raised:
        config.load(file, ["lop.rounds=3"])
    assert raised.value.where == "--set lop.rounds=3"


@pytest.mark.parametrize("name", ["selfplay.predictions", "canary.bounds.x"])
def test_a_setting_that_is_like_none_is_not_taken_for_one_of_another_section(name: str) -> None:
    with pytest.raises(UserError) as raised:
        config.load(None, [f"{name}=3"])
    assert "did you mean" not in (raised.value.fix or "")
