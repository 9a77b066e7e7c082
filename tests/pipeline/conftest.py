"""Kubeflow Pipelines' API, served from memory; and compiling that takes no longer where torch is loaded."""

from __future__ import annotations

import inspect
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.pipeline.stub import ROOT, Stub


def callers(context: int = 1) -> list[inspect.FrameInfo]:
    """What ``inspect.stack`` says of who calls, but for the lines of their source."""
    found: list[inspect.FrameInfo] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return found


@pytest.fixture(scope="package", autouse=True)
def callers_are_found_at_once() -> Iterator[None]:
    """KFP's compiler asks who calls it, and Python looks for each caller's source in all modules that are loaded.

    Where other tests have loaded torch and transformers, that takes twenty seconds a form.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", callers)
        yield


@pytest.fixture
def stub() -> Iterator[Stub]:
    found = Stub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix(ROOT)
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.tokens.add(self.headers.get("Authorization"))
            found.users.add(self.headers.get("kubeflow-userid"))
            if found.refusal and self.command == "POST" and path.startswith(found.refusal[0]):
                self.reply(found.refusal[1], found.refusal[2])
                return
            if found.refuses(self.command, path, query, body):
                self.send_error(400, "namespace")
                return
            try:
                what: object
                if self.command == "GET":
                    what = found.get(path, query)
                elif self.command == "DELETE":
                    found.kept["recurringRuns"] = [
                        r for r in found.kept["recurringRuns"] if not path.endswith(r["recurring_run_id"])
                    ]
                    what = {}
                else:
                    what = found.post(path, query, body)
            except RuntimeError:
                self.send_error(503)
                return
            said = what if isinstance(what, str) else json.dumps({} if what is None else what)
            self.reply(404 if what is None else 200, said)

        def reply(self, status: int, said: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said.encode())))
            self.end_headers()
            self.wfile.write(said.encode())

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
