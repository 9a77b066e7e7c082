"""MLflow's own application with faults in front of it, and a clock for those who wait."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mlflow
from werkzeug.serving import BaseWSGIServer, make_server

LOGIN = "<html><body>Sign in to go on</body></html>"


class Server:
    """MLflow over HTTP, in a thread of this process.

    Attributes:
        fault: Asked for each request, with its path: what to answer in MLflow's place (status, type, body), ``lost``
            to do as asked and not answer, or None to do as asked.
        asked: Paths of the requests that came.
    """

    def __init__(self, database: str) -> None:
        from mlflow.server import app, handlers

        handlers.initialize_backend_stores(database, database, str(Path.cwd() / "artifacts"))
        for variable, forget in (
            ("MLFLOW_TRACKING_URI", mlflow.set_tracking_uri),
            ("MLFLOW_REGISTRY_URI", mlflow.set_registry_uri),
        ):
            forget("")  # it has set its own for clients of this process too
            os.environ.pop(variable, None)
        self._app = app
        self.fault: Callable[[str], tuple[int, str, str] | str | None] = lambda path: None
        self.asked: list[str] = []
        self._server: BaseWSGIServer | None = None
        self.port = 0
        self.start()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None

    def _answer(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        path = re.sub(r".*/mlflow/", "", environ["PATH_INFO"])
        self.asked.append(path)
        fault = self.fault(path)
        if fault is None:
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer
        if isinstance(fault, str):
            list(self._app(environ, lambda *_: lambda data: None))
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        status, kind, body = fault
        start_response(f"{status} said", [("content-type", kind)])
        return [body.encode()]


class Time:
    """A clock that only sleeping moves; what happens meanwhile is in ``meanwhile``."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[float], object] = lambda now: None

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.meanwhile(self.now)

    def clock(self) -> float:
        return self.now


def always(status: int, kind: str, body: str) -> Callable[[str], tuple[int, str, str]]:
    return lambda path: (status, kind, body)


def lost_once(path: str) -> Callable[[str], str | None]:
    left = [path]
    return lambda asked: "lost" if asked == path and left and left.pop() else None
