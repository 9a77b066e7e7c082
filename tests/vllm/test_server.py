"""vLLM's own server as the overlays start it: who is let in, what it counts, and `selfemo collect` before it.

`make test-vllm` runs these, on the CPU; elsewhere vLLM is not installed.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from selfemo.canary.prometheus import REQUESTS, SECONDS
from selfemo.serving.vllm_admission import OPEN
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
    pytest.mark.timeout(600),
]

RUNTIME = ROOT / "manifests" / "components" / "serving-kserve" / "runtime.yaml"
RULES = ROOT / "manifests" / "components" / "monitoring" / "rules.yaml"
READY_WITHIN = 400.0
"""Seconds: vLLM loads for a minute or two where others hold the processors."""
KEY = {"authorization": "Bearer new"}
CHAT = {"model": "self-emo", "messages": [{"role": "user", "content": "I lost my job"}], "max_tokens": 4}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def started(command: list[str], url: str, log: Path, **variables: str) -> subprocess.Popen[bytes]:
    """A server, when its health says that it is ready."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "SELFEMO_SERVE_KEY": "old new", **variables}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    end = time.monotonic() + READY_WITHIN
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return process
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    process.kill()
    raise AssertionError(log.read_text()[-4000:])


def stopped(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def vllm(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a vLLM that is started with the ServingRuntime's own command."""
    place = tmp_path_factory.mktemp("vllm")
    (container,) = yaml.safe_load(RUNTIME.read_text())["spec"]["containers"]
    port = free_port()
    # The model of the tests has room for less than the shipped ones; compiling costs a minute and gains nothing here.
    ours = {"--model": tiny, "--served-model-name": "self-emo", "--port": port, "--max-model-len": 512}
    given = [a for a in container["args"] if a.partition("=")[0] not in ours]
    command = [sys.executable, *container["command"][1:], *given, *(f"{name}={value}" for name, value in ours.items())]
    process = started(
        [*command, "--host=127.0.0.1", "--enforce-eager"],
        f"http://127.0.0.1:{port}/health",
        place / "log",
        HOME=str(place),
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        HF_HUB_OFFLINE="1",
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stopped(process)


@pytest.fixture(scope="module")
def sidecar(vllm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of `selfemo collect` before it, and the directory of what it keeps."""
    place = tmp_path_factory.mktemp("sidecar")
    url = f"http://127.0.0.1:{free_port()}"
    command = f"-m selfemo collect --upstream {vllm} --place {place / 'kept'} --port {url.rpartition(':')[2]}"
    process = started([sys.executable, *shlex.split(command)], f"{url}/healthz", place / "log")
    try:
        yield url, place / "kept"
    finally:
        stopped(process)


def test_every_path_but_those_of_probes_wants_the_key(vllm: str) -> None:
    paths: dict[str, dict[str, Any]] = httpx.get(f"{vllm}/openapi.json", headers=KEY).json()["paths"]
    assert {"/v1/chat/completions", "/invocations", "/tokenize"} <= set(paths)
    wants = {
        f"{method} {path}"
        for path, methods in paths.items()
        for method in methods
        if httpx.request(method, vllm + path, json=CHAT if method == "post" else None).status_code == 401
    }
    assert {f"{m} {p}" for p, methods in paths.items() for m in methods if p not in OPEN} == wants
    assert [httpx.get(vllm + path).status_code for path in OPEN] == [200] * len(OPEN)


@pytest.mark.parametrize("key", ["old", "new"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/invocations"])
def test_with_one_of_the_keys_it_answers(vllm: str, path: str, key: str) -> None:
    answer = httpx.post(vllm + path, json=CHAT, headers={"authorization": f"Bearer {key}"}, timeout=120)
    assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] <= 4


def test_what_the_alerts_and_the_canary_ask_for_is_what_it_counts(vllm: str) -> None:
    assert httpx.post(f"{vllm}/v1/chat/completions", json=CHAT, headers=KEY, timeout=120).status_code == 200
    counted = httpx.get(f"{vllm}/metrics").text
    asked = RULES.read_text() + " ".join((*REQUESTS, *SECONDS))
    names = set(re.findall(r"\bvllm:\w+|\bhttp_requests_total\b", asked.replace("vllm:* ", "")))
    assert {"http_requests_total", "vllm:e2e_request_latency_seconds_bucket"} <= names
    assert [name for name in sorted(names) if not re.search(rf"^{name}{{", counted, re.MULTILINE)] == []
    assert re.search(r'^http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"} ', counted, re.M)


def test_the_sidecar_keeps_a_chat_of_openais_client_whose_user_agrees(sidecar: tuple[str, Path]) -> None:
    openai = pytest.importorskip("openai")
    url, kept = sidecar
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="old", max_retries=0, timeout=120)
    said = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Write to ada@example.org, I lost my job"}]},
    ]
    whole = client.chat.completions.with_raw_response.create(
        model="self-emo", messages=said, max_tokens=4, extra_headers={"x-selfemo-collect": "yes"}
    )
    pieces = list(client.chat.completions.create(model="self-emo", messages=said, max_tokens=4, stream=True))
    assert whole.parse().choices and pieces[-1].choices[0].finish_reason
    dialogue = whole.headers["x-selfemo-dialogue"]
    end = time.monotonic() + 60
    while not (files := [f for f in kept.rglob("*") if f.is_file()]) and time.monotonic() < end:
        time.sleep(0.5)
    text = "".join(f.read_text() for f in files)
    assert text.count('"id"') == 1 and dialogue in text  # the streamed one did not agree
    assert "[EMAIL]" in text and "ada@" not in text
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="self-emo", messages=said)
