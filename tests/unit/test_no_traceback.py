"""What people and servers get wrong in configurations and manifests: a line that names the place, no traceback."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.errors import CorruptArtifact, UserError
from selfemo.registry import git as gitops
from selfemo.store.artifacts import Store
from selfemo.store.manifest import Manifest

ODD = (
    *("0x_", "0b_", "0o_", "1_:_", "2001-99-99", "2001-01-01 99:99:99", "1" * 5000, "1e999999", ".inf", "- ", "\x00"),
    *("!!int x", "!!bool x", "!!float x", "!!timestamp x", "!!binary x", "!!map x", "!!python/object:os.system x"),
    *('"\\U00110000"', '"\\ud800"', "[" * 5000, "{" * 3000, "&a [*a]", "&a {b: *a}", "? [1]", "{[1]: 2}", "{<<: 1}"),
    *("*nobody", "!!seq x"),
)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("setting", ["seed", "policy.vllm"])
def test_a_value_that_no_setting_takes_is_named_with_its_place(tmp_path: Path, setting: str, value: str) -> None:
    with pytest.raises(UserError) as raised:
        configuration.load(None, [f"{setting}={value}"])
    assert str(raised.value.where).startswith("--set")
    file = tmp_path / "c.yaml"
    *sections, key = setting.split(".")
    file.write_text("".join(f"{s}: {{" for s in sections) + f"{key}: {value}" + "}" * len(sections), encoding="utf-8")
    with pytest.raises(UserError) as raised:
        configuration.load(file)
    assert str(raised.value.where).startswith(str(file))


@pytest.mark.parametrize(
    "override",
    [
        "cluster.profile=[x]",
        "cluster.profile={a: 1}",
        "cluster.pods.train=3",
        "cluster.pods.train=[1]",
        "cluster.pods=x",
        'workdir="a\\0b"',
        "gitops.branch=serve-{modle}",
        "gitops.branch=serve-{",
        "gitops.branch=serve-{model.x}",
        "gitops.branch=serve-{0}",
        "gitops.push='git push",
        "selfplay.temperature=.inf",
        "warmup.learning_rate=1e999",
        "loop.rounds=yes",
        "selfplay.temperature=yes",
        "canary=no",
        'workdir=""',
        "mlflow.tracking_uri=sqlite:/x.db",
        "mlflow.tracking_uri=sqlite://",
        "store.endpoint=http://:9000",
        "store.endpoint=http://a b",
    ],
)
def test_what_would_fail_later_is_refused_now(override: str) -> None:
    with pytest.raises(UserError) as raised:
        configuration.load(None, [override])
    assert raised.value.where == f"--set {override}"


def test_an_empty_command_of_git_is_what_the_guide_says() -> None:
    assert configuration.load(None, ["gitops.push="]).gitops.push == ""


@pytest.mark.parametrize(
    "override",
    [
        "mlflow.tracking_uri=http://bob:PW@mlflow.example.org",
        "mlflow.tracking_uri=postgresql://bob:PW@db/mlflow",
        "gitops.repository=https://x:TOKEN@git.example.org/a.git",
        "gitops.repository=https://TOKEN@git.example.org/a.git",
        "gitops.push=git push https://x:TOKEN@git.example.org/a.git",
        "store.endpoint=https://key:SECRET@s3.example.org",
        "cluster.host=https://bob:PW@kfp.example.org",
        "policy.base=https://bob:PW@hub.example.org/m",
        "cluster.environment={A: 'https://bob:PW@x'}",
        "corpora=[{name: meld, path: 'https://bob:PW@x'}]",
    ],
)
def test_credentials_in_an_address_are_refused_wherever_they_stand_and_not_repeated(override: str) -> None:
    with pytest.raises(UserError, match="holds credentials") as raised:
        configuration.load(None, [override])
    assert not any(secret in str(raised.value) for secret in ("PW", "TOKEN", "SECRET"))


@pytest.mark.parametrize("uri", ["ssh://git@git.example.org/a.git", "git@git.example.org:a.git", "s3://b/a@b", "/a@b"])
def test_addresses_that_hold_none_are_taken(uri: str) -> None:
    assert configuration.load(None, [f"gitops.repository={uri}"]).gitops.repository == uri


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_an_error_of_one_kind(text: str) -> None:
    for override in (text, f"seed={text}"):
        with suppress(UserError):
            assert isinstance(configuration.load(None, [override]), Config)


GOOD = {"step": "s", "files": {"a": {"size": 1, "sha256": "0" * 64}}, "files_at": "files-1"}
FILE = {"size": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [
        {"files_at": 3},
        {"files_at": ""},
        {"files_at": "."},
        {"files_at": "../x"},
        {"files": {"": FILE}},
        {"files": {".": FILE}},
        {"files": {"a\0b": FILE}},
        {"files": {"\ud800": FILE}},
        {"files": {"/a": FILE}},
        {"files": {"a/../../b": FILE}},
        {"files": {"a//b": FILE}},
        {"files": {"a": FILE, "a/b": FILE}},
        {"files": {"a": {"size": "1", "sha256": "0" * 64}}},
        {"files": {"a": {"size": -1, "sha256": "0" * 64}}},
        {"files": {"a": {"size": True, "sha256": "0" * 64}}},
        {"files": {"a": {"size": 1, "sha256": 3}}},
        {"files": {"a": {"size": 1}}},
        {"files": {"a": 3}},
        {"files": [1]},
        {"files": None},
        {"step": 3},
        {"inputs": 3},
        {"result": []},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_manifest_that_cannot_be_is_a_damaged_artifact(change: dict[str, object]) -> None:
    assert Manifest.from_json(json.dumps(GOOD).encode(), "here").step == "s"
    with pytest.raises(CorruptArtifact) as raised:
        Manifest.from_json(json.dumps(GOOD | change).encode(), "here")
    assert raised.value.where == "here"


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"1" * 5000, b"\xff", b"null", b"[]", b"3"])
def test_bytes_that_are_no_manifest_are_a_damaged_artifact(data: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path.as_uri(), tmp_path / "cache")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "manifest.json").write_bytes(data)
    with pytest.raises(CorruptArtifact, match="not a manifest"):
        store.fetch(store.uri("x"))


def test_a_file_that_is_gone_is_a_damaged_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path.as_uri(), tmp_path / "cache")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "manifest.json").write_text(json.dumps(GOOD))
    with pytest.raises(CorruptArtifact, match="a is gone"):
        store.fetch(store.uri("x"))


def test_a_reference_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.yaml").write_bytes(b"\xff")
    with pytest.raises(UserError, match="folder: is a directory"):
        gitops._text(tmp_path / "folder", "folder")
    with pytest.raises(UserError, match=r"model\.yaml: cannot be read"):
        gitops._text(tmp_path / "model.yaml", "model.yaml")
    assert gitops._text(tmp_path / "none", "none") is None
