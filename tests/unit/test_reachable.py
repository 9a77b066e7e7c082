"""A server that does not answer is said at once, and this machine's own are asked directly."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from selfemo import config as configuration
from selfemo import reachable, services
from selfemo.cli import main
from selfemo.config.anchors import JUDGES
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.local.inputs import check_models
from selfemo.services.network import answers_mlflow, free_ports

DEAD = "http://127.0.0.1:9"


def selfemo(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that pauses alone move, so that what a busy machine takes for a request is no wait."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(reachable, "time", clock)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def server() -> Iterator[list[int]]:
    """Answers with the statuses of a list, one after the other, the last one for ever; its port is the first item."""
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[1] if len(statuses) == 2 else statuses.pop(1))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    statuses.append(found.server_port)
    yield statuses
    found.shutdown()
    found.server_close()


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500])
@pytest.mark.usefixtures("impatient")
def test_a_server_that_says_anything_answers(server: list[int], status: int) -> None:
    server.append(status)
    reachable.answers(f"http://127.0.0.1:{server[0]}", "x", "y")


@pytest.mark.usefixtures("impatient")
def test_one_that_comes_back_is_waited_for_and_one_that_does_not_is_named(server: list[int]) -> None:
    server += [503, 503, 200]
    reachable.answers(f"http://127.0.0.1:{server[0]}", "x", "y")
    server[1:] = [503]
    with pytest.raises(UserError, match="does not answer: 503") as raised:
        reachable.answers(f"http://127.0.0.1:{server[0]}", "mlflow.tracking_uri", "y")
    assert raised.value.where == "mlflow.tracking_uri"


def test_the_longest_wait_is_under_half_a_minute() -> None:
    assert reachable.SECONDS + reachable.PAUSE <= 30


@pytest.mark.parametrize(
    "command",
    [
        ["ui"],
        ["promote", "--version", "1"],
        ["rollback", "--reason", "x"],
        ["sync-registry"],
        ["stopped-rounds"],
        ["gc"],
        ["serve"],
        ["fetch", "--policy", "models:/self-emo@champion", "--out", "o"],
        ["filter", "--rollouts", "s3://b/x"],
        ["run"],
    ],
    ids=lambda command: str(command[0]),
)
@pytest.mark.usefixtures("impatient")
def test_a_dead_server_is_named_by_its_setting(command: list[str], tmp_path: Path) -> None:
    own = [f"workdir={tmp_path}", "store.root=s3://b", f"store.endpoint={DEAD}", f"mlflow.tracking_uri={DEAD}"]
    result = selfemo(*command, *(x for o in own for x in ("--set", o)))
    assert result.exit_code == 2
    setting = "store.endpoint" if command[0] == "filter" else "mlflow.tracking_uri"
    assert f"{setting}: {DEAD} does not answer" in result.output


@pytest.mark.parametrize(("status", "said"), [(401, "MLflow says no (401)"), (403, "MLflow says no (403)")])
@pytest.mark.parametrize("command", [["ui"], ["promote", "--version", "1"], ["run"]], ids=lambda c: str(c[0]))
@pytest.mark.usefixtures("impatient")
def test_what_mlflow_says_comes_before_anything_else(
    command: list[str], status: int, said: str, server: list[int], tmp_path: Path
) -> None:
    server.append(status)
    own = [f"workdir={tmp_path}", f"mlflow.tracking_uri=http://127.0.0.1:{server[0]}"]  # the store would be started
    result = selfemo(*command, *(x for o in own for x in ("--set", o)))
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "services").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["ui"],
        ["promote", "--version", "1"],
        ["rollback", "--reason", "x"],
        ["sync-registry"],
        ["sync-registry", "--write", "x.yaml"],
        ["stopped-rounds"],
        ["gc"],
        ["serve"],
        ["fetch", "--policy", "models:/self-emo@champion", "--out", "o"],
        ["evaluate", "--policy", "models:/self-emo@champion"],
        ["filter", "--rollouts", "s3://selfemo/x"],
        ["generate", "--policy", "of/x", "--prepared", "s3://selfemo/x"],
        ["serve", "--policy", "./none"],
        ["evaluate", "--policy", "./none"],
        ["dry-run", "--set", "policy.base=./none"],
        ["run", "--set", "policy.base=./none"],
        ["run", "--set", "policy.base=pypi:none"],
        ["run", "--set", "policy.start=./none"],
        ["run", "--set", "evaluation.judge=./none"],
    ],
    ids=lambda command: "-".join(command).replace("/", "_"),
)
def test_nothing_is_started_unasked(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr(services, "ensure", start)
    result = selfemo(*command, "--set", f"workdir={tmp_path}")
    assert result.exit_code == 2
    assert "fix: " in result.output


@pytest.mark.parametrize("judge", JUDGES)
def test_a_judge_that_is_fitted_here_is_looked_for_nowhere(judge: str, tiny: Path, tmp_path: Path) -> None:
    words = [] if judge != "tfidf" else ["selfplay.words=false"]  # that one is no judge of its own
    own = [f"policy.base={tiny}", f"evaluation.judge={judge}", f"workdir={tmp_path}", *words]
    check_models(Context(configuration.load(None, own)))


def test_a_dry_run_that_fails_stops_the_servers_that_it_started_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfemo.local import dryrun, runner
    from selfemo.policy import miniature

    stopped: list[Path] = []

    def stop(workdir: Path) -> list[str]:
        stopped.append(workdir)
        return []

    running = services.Services("a", "b")
    monkeypatch.setattr(services, "status", lambda _: running)
    monkeypatch.setattr(services, "stop", stop)
    monkeypatch.setattr(dryrun, "prepare", lambda config: (config, 1))
    monkeypatch.setattr(miniature, "shrink", lambda *_: 1)
    monkeypatch.setattr(runner, "run_pipeline", lambda _: runner.Ended(False, "train of round 1 failed: why"))
    result = selfemo("dry-run", "--set", f"workdir={tmp_path}")
    assert (result.exit_code, stopped) == (1, [tmp_path])
    assert result.output.splitlines()[-1] == "selfemo: train of round 1 failed: why"
    running.processes["s3"] = services.record.Process(1, 0.0, "http://127.0.0.1:1")
    stopped.clear()
    assert selfemo("dry-run", "--set", f"workdir={tmp_path}").exit_code == 1
    assert not stopped


@pytest.mark.usefixtures("impatient")
def test_a_name_that_no_hub_is_asked_about_in_vain_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", DEAD)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    context = Context(configuration.load(None, [f"workdir={tmp_path}", "policy.base=nobody/has-this"]))
    with pytest.raises(UserError, match=r"policy\.base: nobody/has-this is no directory"):
        check_models(context)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"no_proxy": ".svc"}, ".svc,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a, localhost"}, "a,localhost,127.0.0.1,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,b,127.0.0.1,localhost,::1"),
    ],
)
def test_loopback_is_never_asked_for_through_a_proxy(
    given: dict[str, str], made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # and put back at the end
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    reachable.spare_loopback()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == made


def test_everything_that_asks_no_proxy_goes_on_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    reachable.spare_loopback()
    assert os.environ["no_proxy"] == "*"


def test_the_embedded_servers_are_asked_directly(server: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    server.append(200)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert answers_mlflow(f"http://127.0.0.1:{server[0]}")


def test_no_server_gets_a_port_that_the_system_gives_to_clients() -> None:
    """Such a port, free when it is looked at, may be a connection's before the server listens."""
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(given.read_text().split()[0]) if given.exists() else 49152  # IANA's, elsewhere
    assert max(free_ports(100)) + 10000 < first
