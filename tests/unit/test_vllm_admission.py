"""Who is let in to vLLM's own server; ``tests/vllm`` tries it with vLLM itself."""

from __future__ import annotations

from importlib import import_module

import pytest
import yaml
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.middleware.cors import CORSMiddleware
from starlette.websockets import WebSocket, WebSocketDisconnect

from selfemo.errors import UserError
from selfemo.serving.command import KEY
from selfemo.serving.sidecar import forward
from selfemo.serving.vllm_admission import VllmAdmission
from tests.conftest import ROOT


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Of a server with routes like vLLM's."""
    monkeypatch.setenv("SELFEMO_SERVE_KEY", "old new")
    app = FastAPI()

    @app.get("/health")
    @app.get("/metrics")
    @app.post("/invocations")
    @app.post("/v1/chat/completions")
    async def answer() -> str:
        return "answered"

    @app.websocket("/v1/realtime")
    async def speech(socket: WebSocket) -> None:
        await socket.accept()

    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    app.add_middleware(VllmAdmission)
    return TestClient(app)


@pytest.mark.parametrize("path", ["/invocations", "/v1/chat/completions", "/openapi.json", "/nosuch"])
def test_all_that_is_not_for_probes_wants_a_key(client: TestClient, path: str) -> None:
    assert client.post(path).status_code == 401
    assert client.post(path, headers={"authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize("key", ["old", "new"])
def test_each_of_several_keys_is_taken(client: TestClient, key: str) -> None:
    assert client.post("/invocations", headers={"authorization": f"Bearer {key}"}).json() == "answered"


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_probes_and_prometheus_need_none(client: TestClient, path: str) -> None:
    assert client.get(path).json() == "answered"


def test_a_browser_may_ask_what_it_may_send(client: TestClient) -> None:
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert client.options("/v1/chat/completions", headers=asked).status_code == 200


def test_a_websocket_is_closed(client: TestClient) -> None:
    headers = {"authorization": "Bearer new"}
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/realtime", headers=headers):
        pass


def test_a_large_body_is_refused(client: TestClient) -> None:
    body = b" " * (forward.BODY_BYTES + 1)
    assert client.post("/invocations", content=body, headers={"authorization": "Bearer new"}).status_code == 413


@pytest.mark.parametrize("key", ["", " "])
def test_without_a_key_nothing_is_served(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("SELFEMO_SERVE_KEY", key)
    with pytest.raises(UserError, match="have to give a key"):
        VllmAdmission(FastAPI())


def test_the_runtime_of_the_overlays_loads_it_and_gives_it_the_key() -> None:
    runtime = ROOT / "manifests" / "components" / "serving-kserve" / "runtime.yaml"
    (container,) = yaml.safe_load(runtime.read_text())["spec"]["containers"]
    (given,) = [a.partition("=")[2] for a in container["args"] if a.startswith("--middleware=")]
    module, _, name = given.rpartition(".")  # as vLLM looks it up
    assert getattr(import_module(module), name) is VllmAdmission
    assert KEY in {e["name"] for e in container["env"]}
