"""``selfemo collect`` as a process: what it says of its options, and what it does when it is stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from selfemo.cli import main
from selfemo.data.feedback import Feedback
from tests.conftest import ROOT
from tests.integration.serving.behind import SECONDS, Behind, listening

MODELS = ("torch", "transformers", "vllm", "safetensors", "mlflow")
LOADED = f"""
import sys
from selfemo.cli import main
try:
    main(sys.argv[1:])
finally:
    print("loaded:", *sorted(set({MODELS!r}) & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(("given", "path"), [("--collect", ""), ("--collect=", "s3://b/f"), ("--collect", "s3://b/f")])
def test_serve_takes_the_place_of_the_configuration_where_none_is_named(
    given: str, path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places: list[str] = []
    monkeypatch.setattr("selfemo.serving.command.serve", lambda *given: places.append(given[6]))
    (tmp_path / "config.json").write_text("{}")
    asked = ["serve", "--policy", str(tmp_path), given, "--collect-days", "30", "--set", f"feedback.path='{path}'"]
    done = CliRunner().invoke(main, asked)
    if path and given == "--collect":
        assert (done.exit_code, places) == (0, [path])
    else:  # an empty value may be a variable that is not set
        assert (done.exit_code, places) == (2, []) and "no place is named" in done.stderr


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        (["--upstream", "127.0.0.1:8000"], "", "write http://HOST:PORT"),
        (["--upstream", "http://127.0.0.1:8000/v1"], "", "more than a server's address"),
        (["--upstream", "http://ann:secret@127.0.0.1"], "", "clients give the key"),
        (["--upstream", "http://localhost:8000", "--port", "8000"], "", "is this server itself"),
        (["--upstream", "http://127.0.0.1:8000", "--host", "0.0.0.0", "--port", "8000"], "k", "is this server itself"),
        (["--upstream", "http://127.0.0.1:8000", "--host", "0.0.0.0"], "", "clients have to give a key"),
    ],
)
def test_what_cannot_be_is_said(
    given: list[str], key: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFEMO_SERVE_KEY", key)
    done = CliRunner().invoke(main, ["collect", "--place", str(tmp_path), *given])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split()) and "secret" not in done.output


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_writes_what_it_has_when_it_is_stopped_and_has_loaded_no_model(told: signal.Signals, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place, own = tmp_path / "came back", f"http://127.0.0.1:{port}"
    with listening(Behind()) as (url, _):
        command = [sys.executable, "-c", LOADED, "collect", f"--upstream={url}", f"--place={place}", f"--port={port}"]
        more = {"PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)}
        with subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, **more}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                begun = time.monotonic()
                while process.poll() is None and time.monotonic() - begun < SECONDS:
                    with contextlib.suppress(httpx.ConnectError):
                        httpx.get(f"{own}/healthz")
                        break
                    time.sleep(0.05)
                chat = {"messages": [{"role": "user", "content": "We won!"}]}
                answer = httpx.post(f"{own}/v1/chat/completions", json=chat, headers={"x-selfemo-collect": "yes"})
                process.send_signal(told)
                out, err = process.communicate(timeout=SECONDS)
            finally:
                process.kill()
    assert (answer.status_code, answer.content) == (200, b"{}"), err
    (kept,) = Feedback.at(str(place)).conversations()  # of the ten seconds that it gathers, one has passed
    assert (kept.id, kept.corpus) == (answer.headers["x-selfemo-dialogue"], "sample")
    assert json.loads(out.splitlines()[0])["status"] == 200 and "won" not in out
    assert "Traceback" not in err
    if told == signal.SIGINT:  # SIGTERM ends it before it could say so
        assert err.splitlines()[-1] == "loaded:"
