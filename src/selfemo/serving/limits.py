"""What one client may take of the server: who is let in, and how much is read. Pure ASGI, before the application.

FastAPI reads a whole body before it runs what would check a key or a length, so that is checked here: the key before
anything is read, the stated length before the body, and the body by the bytes that arrive, whatever was stated.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfemo.serving.record import record_of
from selfemo.serving.sessions import SessionBounds, space_of

HEALTH = "/healthz"
LIVE = "/livez"
METRICS = "/metrics"
OPEN = (HEALTH, LIVE, METRICS)
"""These three need no key: probes and Prometheus have none. The documentation (/docs, /openapi.json) wants it."""
CHATS = ("/v1/chat/completions", "/openai/v1/chat/completions")
"""Where chats are asked for; the second is that of KServe's runtime for Hugging Face models."""
CLIENT_LEFT = 499
"""Status of an answer that nobody receives, as nginx has it."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the server, each with its reason.

    Attributes:
        body_bytes: Of a request: a dialogue of 200 turns is seldom a tenth of it.
        body_seconds: In which a body has to arrive.
        linger_seconds: For which the rest of a refused body is read and dropped, ``body_bytes`` of it at most. If the
            connection were closed at once, many clients would see a reset in place of the answer.
        together: Requests that the engine works on at the same time: each more slows down all others.
        waiting: Requests that wait for it. When 32 take some ten seconds together, the last waits less than a minute,
            which is when ingresses and clients give up; who came after would wait in vain.
        sessions: Bounds of conversations that are remembered.
        retry_seconds: After which a client that found the queue full may try again.
        head_seconds: Longest time that a connection may be open without a whole request's head.
        stop_seconds: For answers that are begun or waited for when the server is told to stop; Kubernetes kills after
            30.
    """

    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    linger_seconds: float = 2.0
    together: int = 32
    waiting: int = 64
    retry_seconds: int = 5
    head_seconds: float = 10.0
    stop_seconds: int = 20
    sessions: SessionBounds = field(default_factory=SessionBounds)


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as OpenAI words it."""
    kind = {429: "rate_limit_error"}.get(status, "invalid_request_error" if status < 500 else "server_error")
    return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status, headers)


async def refuse(response: JSONResponse, receive: Receive, send: Send, limits: Limits) -> None:
    """Answer, drop what still arrives of the request for a moment, and close the connection."""
    headers = [*response.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    left = 0 if response.status_code == 408 else limits.body_bytes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.linger_seconds):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):  # its end, or the client has left
                    break
                left -= len(message.get("body", b""))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Refused(Exception):
    """A request that does not reach the application."""

    def __init__(self, response: JSONResponse) -> None:
        super().__init__(response.status_code)
        self.response = response


class Admission:
    """Lets requests in that give the key and are small enough, with their whole body; answers the others itself.

    Args:
        app: What they are let in to.
        key: That clients have to give as a bearer token, or several, parted by spaces; empty asks for none.
        limits: Bounds of a body.
        open_paths: That ask for no key.
    """

    def __init__(self, app: ASGIApp, key: str, limits: Limits, open_paths: Collection[str] = OPEN) -> None:
        self.app, self.keys, self.limits, self.open_paths = app, key.split(), limits, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.open_paths:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            record_of(scope).space = self._check(headers)
            body = await self._body(receive)
        except _Refused as refused:
            await refuse(refused.response, receive, send, self.limits)
            return
        if body is None:  # the client has left
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)

    def _check(self, headers: Headers) -> str:
        """Refuse what its head already condemns; what stands for the key that it gives."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = [key for key in self.keys if hmac.compare_digest(given.strip().encode(), key.encode())]
        if self.keys and not (same and scheme.lower() == "bearer"):
            raise _Refused(error(401, "give the key as a bearer token", {"www-authenticate": "Bearer"}))
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > self.limits.body_bytes:
            raise self._too_large()
        return space_of(same[0]) if same else ""

    def _too_large(self) -> _Refused:
        return _Refused(error(413, f"a request has at most {self.limits.body_bytes} bytes"))

    async def _body(self, receive: Receive) -> bytes | None:
        """The whole body; None if the client left before its end."""
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self.limits.body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            late = f"the body did not arrive in {self.limits.body_seconds:g} s"
            raise _Refused(error(408, late)) from None
