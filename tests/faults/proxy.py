"""A proxy between a client and a server, with the faults that networks have: ``python -m tests.faults.proxy TARGET``.

It prints its port. A fault is set by ``POST /__fault__`` as JSON: ``at``, the number of the request that it befalls,
``kind`` and what that needs; the answer is how many requests have come since the last one. ``GET /__count__`` asks the
same. It is a process of its own: who is killed between two requests is killed by it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOPS = {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
KINDS = ("kill before", "kill after", "lost reply", "delayed", "5xx", "5xx after", "reset", "cut reply")
"""What can befall a request; "after" is when the server has done as it was asked."""


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = urlsplit(target)
        self.count, self.guard = 0, threading.Lock()
        self.fault: dict[str, Any] = {}

    def next(self) -> dict[str, Any]:
        """The fault of the request that has come, if it is its turn."""
        with self.guard:
            self.count += 1
            at = self.fault.get("at", -1)
            due = at <= self.count - 1 < at + self.fault.get("times", 1)
            return self.fault if due else {}


class Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self._body()
        if self.path in ("/__fault__", "/__count__"):
            self._told(body)
            return
        fault = self.server.next()
        kind = fault.get("kind", "")
        if kind == "kill before":
            os.kill(fault["pid"], signal.SIGKILL)
        if kind in ("kill before", "reset"):
            self._reset()
        elif kind == "5xx":
            self._say(503, [], b"the proxy says no")
        else:
            if kind == "delayed":
                time.sleep(fault["seconds"])
            self._forwarded(body, kind, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = answer

    def _forwarded(self, body: bytes, kind: str, fault: dict[str, Any]) -> None:
        target = self.server.target
        assert target.hostname is not None
        server = http.client.HTTPConnection(target.hostname, target.port, timeout=120)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOPS | {"content-length", "expect"}:
                    server.putheader(name, value)
            if body or self.command in ("PUT", "POST", "PATCH"):
                server.putheader("Content-Length", str(len(body)))
            server.endheaders(body)
            answer = server.getresponse()
            data, headers = answer.read(), answer.getheaders()
        except OSError:  # the server is away
            self._reset()
            return
        finally:
            server.close()
        if kind == "kill after":
            os.kill(fault["pid"], signal.SIGKILL)
        if kind in ("kill after", "lost reply"):
            self._reset()
        elif kind == "5xx after":
            self._say(503, [], b"the proxy says no")
        else:
            self._say(answer.status, headers, data, cut=kind == "cut reply" and len(data) > 1)

    def _say(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        length = str(len(data))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # of HEAD, what GET would answer
            elif name.lower() not in HOPS:
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", length)
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _body(self) -> bytes:
        if self.headers.get("expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _told(self, body: bytes) -> None:
        with self.server.guard:
            said = json.dumps(self.server.count).encode()
            if self.path == "/__fault__":
                self.server.count, self.server.fault = 0, json.loads(body)
        self._say(200, [], said)

    def handle_expect_100(self) -> bool:
        return True  # the body is asked for where it is read

    def handle_one_request(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().handle_one_request()
            return
        self.close_connection = True

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    proxy = Proxy(sys.argv[1])
    print(proxy.server_port, flush=True)
    parent = os.getppid()
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    while os.getppid() == parent:  # ends with who started it
        time.sleep(0.5)


if __name__ == "__main__":
    main()
