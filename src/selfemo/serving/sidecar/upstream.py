"""The server behind: one request goes to it as it came, and its answer comes back byte by byte.

httpx's transport is used by itself: unlike its client it follows no redirect, keeps no cookie, asks no proxy, unpacks
nothing and adds no header of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from starlette.types import Scope

from selfemo import addresses
from selfemo.errors import UserError
from selfemo.serving.record import HEADER

Raw = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers of one connection (RFC 9110, section 7.6.1), besides those that ``connection`` names."""
OURS = frozenset((b"host", b"expect", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", HEADER))
"""Headers of a request that are written anew: ``expect`` has been answered by then."""
PROBE = b"/health"
"""vLLM's; whatever a server says to it short of 5xx, it is up."""


@dataclass(frozen=True)
class Waits:
    """How long the server behind is waited for, in seconds.

    Attributes:
        connect: Until it takes a connection.
        silent: Between two pieces of what it says, the first one too: a chat that is not streamed says nothing until
            its end. OpenAI's client gives up after as long.
        probe: For the answer to a probe: less than Kubernetes waits for ours.
        idle: For which a connection is kept for the next request: less than the five of vLLM's own server, which may
            close it in the moment that it is used again.
    """

    connect: float = 5.0
    silent: float = 600.0
    probe: float = 3.0
    idle: float = 2.0


class Upstream:
    """The server behind.

    Args:
        url: Its address: scheme, host and port.
        waits: For it.

    Raises:
        UserError: If it is no such address.
    """

    def __init__(self, url: str, waits: Waits | None = None) -> None:
        self.waits = waits or Waits()
        self.url = _checked(url)
        self.transport = httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=None, keepalive_expiry=self.waits.idle)
        )

    async def ask(self, scope: Scope, id_: str, body: AsyncIterator[bytes] | None) -> httpx.Response:
        """Pass a request on; its answer's head, and its body to be read.

        Args:
            scope: Of the request.
            id_: Of the request, for both logs.
            body: None if it has none.

        Raises:
            httpx.TransportError: If there is no answer.
        """
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        return await self.transport.handle_async_request(
            httpx.Request(
                scope["method"],
                self.url,
                headers=_onward(scope, id_.encode()),
                content=body,
                extensions={"target": target, "timeout": self._timeout(self.waits.silent)},
            )
        )

    async def answers(self) -> bool:
        """Whether it is up."""
        extensions = {"target": PROBE, "timeout": self._timeout(self.waits.probe)}
        try:
            found = await self.transport.handle_async_request(httpx.Request("GET", self.url, extensions=extensions))
            await found.aclose()
        except httpx.TransportError:
            return False
        return found.status_code < 500

    def _timeout(self, seconds: float) -> dict[str, float | None]:
        connect = min(self.waits.connect, seconds)
        return {"connect": connect, "read": seconds, "write": seconds, "pool": None}


def back(response: httpx.Response, *without: bytes) -> Raw:
    """Headers of an answer for the client.

    Args:
        response: Of the server behind.
        without: Names in lower case that are left out.
    """
    raw = [(name.lower(), value) for name, value in response.headers.raw]
    gone = _hop_by_hop(raw) | set(without)
    return [(name, value) for name, value in raw if name not in gone]


def has_body(scope: Scope) -> bool:
    """Whether a request has one."""
    given = dict(scope["headers"])
    return b"transfer-encoding" in given or given.get(b"content-length", b"0").strip(b"0") != b""


def _onward(scope: Scope, id_: bytes) -> Raw:
    """Headers of a request for the server behind."""
    raw: Raw = scope["headers"]
    given, gone = dict(raw), _hop_by_hop(raw) | OURS
    if b"transfer-encoding" in given:  # it is what counts, and is written anew
        gone |= {b"content-length"}
    kept = [(name, value) for name, value in raw if name not in gone]
    peer = [scope["client"][0].encode()] if scope.get("client") else []
    forwarded = b", ".join([value for name, value in raw if name == b"x-forwarded-for"] + peer)
    host = given.get(b"x-forwarded-host", given.get(b"host", b""))
    scheme = given.get(b"x-forwarded-proto", scope["scheme"].encode())
    said = ((b"x-forwarded-for", forwarded), (b"x-forwarded-host", host), (b"x-forwarded-proto", scheme))
    return [*kept, *((name, value) for name, value in said if value), (HEADER, id_)]


def _hop_by_hop(raw: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    named = [value for name, value in raw if name == b"connection"]
    return HOP_BY_HOP | {word.strip().lower() for value in named for word in value.split(b",")}


def _checked(url: str) -> httpx.URL:
    fix = "write http://HOST:PORT or https://HOST, as http://127.0.0.1:8000"
    try:
        parts = urlsplit(addresses.web(url))
    except ValueError as error:
        raise UserError(str(error), where="--upstream", fix=fix) from None
    if parts.username or parts.password:
        raise UserError("has a password in it", where="--upstream", fix="clients give the key; leave it out")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise UserError("is more than a server's address: paths are those of the clients", where="--upstream", fix=fix)
    return httpx.URL(f"{parts.scheme}://{parts.netloc}/")
