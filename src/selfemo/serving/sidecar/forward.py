"""Passes requests on and answers back, byte by byte as they come; a client that leaves ends its request behind, too."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from selfemo.serving.limits import Limits, error, refuse
from selfemo.serving.record import DIALOGUE, HEADER, RequestRecord, record_of
from selfemo.serving.sessions import space_of
from selfemo.serving.sidecar.chats import Chats
from selfemo.serving.sidecar.upstream import Upstream, back, has_body

log = logging.getLogger(__name__)

BODY_BYTES = 16 << 20
"""Of a request that is passed on: pictures in a chat are larger than what is kept of one (``Limits.body_bytes``)."""


class _Refused(Exception):
    """A request that is not passed on, or not to its end."""

    def __init__(self, response: JSONResponse) -> None:
        super().__init__(response.status_code)
        self.response = response


class _Left(Exception):
    """The client has left in the middle of its request."""


@dataclass
class Body:
    """A request's body on its way.

    Attributes:
        receive: Of the request.
        seconds: In which it has to arrive.
        most: Bytes of it.
        kept: Most bytes of which a copy is made; 0 makes none.
    """

    receive: Receive
    seconds: float
    most: int
    kept: int
    copy: bytearray = field(default_factory=bytearray)
    whole: bool = False
    read: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nothing more of it is asked for."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its pieces.

        Raises:
            _Refused: If it is too large or too late.
            _Left: If the client leaves.
        """
        size, left = 0, self.seconds
        while True:
            begun = time.monotonic()
            try:
                message: Message = await asyncio.wait_for(self.receive(), left)
            except TimeoutError:
                late = f"the body did not arrive in {self.seconds:g} s"
                raise _Refused(error(408, late)) from None
            left = max(0.0, left - (time.monotonic() - begun))  # what the server behind takes is not the client's
            if message["type"] == "http.disconnect":
                raise _Left
            piece = message.get("body", b"")
            size += len(piece)
            if size > self.most:
                raise _Refused(error(413, f"a request has at most {self.most} bytes"))
            self.whole = not message.get("more_body", False)
            if size <= self.kept:
                self.copy += piece
            elif self.kept:
                self.kept = 0
                self.copy.clear()
            if self.whole:
                self.read.set()
            if piece:
                yield piece
            if self.whole:
                return

    async def left(self) -> None:
        """Return when the client has left."""
        await self.read.wait()
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Forward:
    """The application that answers with what the server behind says.

    Args:
        upstream: That server.
        chats: Keeps those that may be kept.
        limits: Bounds.
    """

    def __init__(self, upstream: Upstream, chats: Chats, limits: Limits) -> None:
        self.upstream, self.chats, self.limits = upstream, chats, limits
        self.draining = False
        self._answering: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> int:
        """Requests that are not finished."""
        return len(self._answering)

    def drain(self) -> None:
        """Take nothing new; what is there is finished."""
        self.draining = True

    def give_up(self) -> None:
        """Tell all who wait that this server stops."""
        for task in self._answering:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        record, given = record_of(scope), Headers(scope=scope)
        record.tokens(None, None, None)
        scheme, _, key = given.get("authorization", "").partition(" ")
        record.space = space_of(key.strip()) if scheme.lower() == "bearer" else ""
        if refusal := self._refusal(scope, given):
            await refuse(refusal, receive, send, self.limits)
            return
        kept = self.limits.body_bytes if self.chats.wanted(scope, record) else 0
        body = Body(receive, self.limits.body_seconds, BODY_BYTES, kept)
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        answering = asyncio.create_task(self._answer(scope, record, body, sent))
        leaving = asyncio.create_task(body.left())
        self._answering.add(answering)
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if answering.cancelled():
                raise _Refused(self._stopping())
            if answering.done():
                answering.result()
        except _Refused as refused:
            if begun:
                log.warning("an answer was not finished: the server stops")
            elif body.read.is_set():
                await _plainly(refused.response, send)
            else:
                await refuse(refused.response, receive, send, self.limits)
        except _Left:
            pass
        finally:
            self._answering.discard(answering)
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    def _refusal(self, scope: Scope, given: Headers) -> JSONResponse | None:
        """What is not passed on at all."""
        if self.draining:
            return self._stopping()
        if not scope["raw_path"].startswith(b"/"):
            return error(400, "a request names a path here, and no server: there is one behind, and no other")
        if "transfer-encoding" in given and "content-length" in given:  # RFC 9112, section 6.1: no honest client does
            return error(400, "a request says how long its body is once, by content-length or by transfer-encoding")
        length = given.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > BODY_BYTES:
            return error(413, f"a request has at most {BODY_BYTES} bytes")
        return None

    def _stopping(self) -> JSONResponse:
        return error(503, "the server stops; ask another", {"retry-after": str(self.limits.retry_seconds)})

    async def _answer(self, scope: Scope, record: RequestRecord, body: Body, send: Send) -> None:
        content = body.chunks() if has_body(scope) else None
        if content is None:
            body.read.set()
        try:
            response = await self.upstream.ask(scope, record.id, content)
        except httpx.LocalProtocolError:
            raise _Refused(error(400, "the request cannot be passed on")) from None
        except httpx.TransportError as why:
            raise _Refused(self._away(why)) from None
        body.read.set()
        try:
            record.named(response.headers.get("x-request-id", "").encode())
            # Where the server behind has kept it, under an id that its answer says, ours would be a second copy.
            if response.status_code == 200 and body.whole and DIALOGUE.decode() not in response.headers:
                self.chats.keep(record, bytes(body.copy))
            headers = back(response, HEADER, *([DIALOGUE] if record.dialogue else []))
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            stream = response.stream
            assert isinstance(stream, httpx.AsyncByteStream)
            async for piece in stream:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except httpx.TransportError as why:  # its head is sent: the client sees a connection that breaks off, as we do
            log.warning("the server behind broke off in the middle of an answer: %s", type(why).__name__)
            return
        finally:
            with contextlib.suppress(httpx.TransportError):
                await response.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _away(self, why: httpx.TransportError) -> JSONResponse:
        """What is said where the server behind has not answered."""
        log.warning("the server behind did not answer: %s", type(why).__name__)
        if isinstance(why, (httpx.ConnectError, httpx.ConnectTimeout)):
            retry = {"retry-after": str(self.limits.retry_seconds)}
            return error(503, "the server behind this one takes no connections; try again later", retry)
        if isinstance(why, httpx.TimeoutException):
            return error(504, f"the server behind this one has said nothing for {self.upstream.waits.silent:g} s")
        return error(502, "the server behind this one broke off without an answer")


async def _plainly(response: JSONResponse, send: Send) -> None:
    """Answer a request that has been read."""
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})
