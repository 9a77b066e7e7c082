"""A small S3 in a thread of this process, of the kinds that people have and with the faults that networks have."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Server(ThreadingHTTPServer):
    """An S3.

    Attributes:
        kind: ``new`` honours conditions, ``deaf`` does not look at them, ``half`` looks at ``If-None-Match`` alone,
            ``refuses`` knows neither and says so, ``old`` refuses the checksums of newer clients.
        fault: Asked for each request, with its method and path: a status to answer in its place, ``cut`` to send half
            of the answer, or None.
        objects: By path.
    """

    daemon_threads = True

    def __init__(self, kind: str = "new") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kind = kind
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], int | str | None] = lambda method, path: None
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        if self._fault("PUT"):
            return
        path, kind = urlsplit(self.path).path, self.server.kind
        none, same = self.headers["if-none-match"], self.headers["if-match"]
        there = self.server.objects.get(path)
        if kind == "refuses" and (none or same):
            self._error(501, "NotImplemented", "a header implies functionality that is not implemented")
        elif kind == "old" and self.headers["x-amz-sdk-checksum-algorithm"]:
            self._error(400, "InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a hash")
        elif kind != "deaf" and none and there is not None:
            self._error(412, "PreconditionFailed", "it is there")
        elif kind not in ("deaf", "half") and same and (there is None or same != tag(there)):
            self._error(412, "PreconditionFailed", "it is another")
        else:
            self.server.objects[path] = body
            self._say(200, b"", {"ETag": tag(body)})

    def do_GET(self) -> None:
        if self._fault("GET"):
            return
        path, _, query = self.path.partition("?")
        if "list-type=2" in query:
            return self._list(path, parse_qs(query).get("prefix", [""])[0])
        found = self.server.objects.get(path)
        if found is None:
            self._error(404, "NoSuchKey", "there is none")
        else:
            self._say(200, found, {"ETag": tag(found), "Last-Modified": formatdate(usegmt=True)})

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        if not self._fault("DELETE"):
            self.server.objects.pop(urlsplit(self.path).path, None)
            self._say(204)

    def _list(self, bucket: str, prefix: str) -> None:
        rows = "".join(
            f"<Contents><Key>{path.removeprefix(f'{bucket}/')}</Key><Size>{len(data)}</Size>"
            "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for path, data in self.server.objects.items()
            if path.startswith(f"{bucket}/{prefix}")
        )
        self._say(200, f"<ListBucketResult>{rows}</ListBucketResult>".encode(), {"content-type": "application/xml"})

    def _fault(self, method: str) -> bool:
        path = urlsplit(self.path).path
        self.server.asked.append((method, path))
        fault = self.server.fault(method, path)
        if isinstance(fault, int):
            codes = {403: "AccessDenied", 404: "NoSuchKey"}
            self._error(fault, codes.get(fault, "InternalError"), "as the test says")
        elif fault == "cut":
            self._say(200, self.server.objects[path], {"ETag": tag(self.server.objects[path])}, cut=True)
        return fault is not None

    def _error(self, status: int, code: str, words: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{words}</Message></Error>".encode()
        self._say(status, body, {"content-type": "application/xml"})

    def _say(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def log_message(self, *_: object) -> None:
        pass


def tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'
