"""The application: what it answers itself, and what goes on to the server behind, which is all else.

Its figures have a path of their own, so that the server behind keeps its ``/metrics``; the path of its health,
``/healthz``, is none of vLLM's, which has ``/health``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from selfemo.data.labels import Spaces
from selfemo.serving.collect import Collector
from selfemo.serving.feedback import PATH, Corrections, add_route
from selfemo.serving.labels import Unknown
from selfemo.serving.limits import HEALTH, LIVE, METRICS, Admission, Limits
from selfemo.serving.metrics import Measured, Requests
from selfemo.serving.refusals import worded
from selfemo.serving.sidecar.chats import Chats
from selfemo.serving.sidecar.forward import Forward
from selfemo.serving.sidecar.upstream import PROBE, Upstream

FIGURES = "/collect/metrics"
OPEN = (HEALTH, LIVE, FIGURES)
OWN = (*OPEN, PATH)
"""Paths that are answered here."""
WATCHED = (*OPEN, METRICS, PROBE.decode())
"""Paths of probes and scrapes, of this server and of the one behind: they are not counted."""


@dataclass(frozen=True)
class Sidecar:
    """The application, and what passes requests on: it is drained when the server stops."""

    app: ASGIApp
    forward: Forward


def sidecar(
    upstream: Upstream,
    collector: Collector,
    spaces: Spaces,
    labels: str,
    key: str = "",
    hosts: Sequence[str] = (),
    limits: Limits | None = None,
    log: Callable[[str], None] | None = None,
) -> Sidecar:
    """The application.

    Args:
        upstream: The server behind.
        collector: Keeps the conversations whose clients agree, and knows where corrections go.
        spaces: Label spaces by name, whose labels corrections may have.
        labels: Name of that of the chats.
        key: That corrections want as a bearer token, or several, parted by spaces; empty asks for none. All else is for
            the server behind to let in.
        hosts: Names by which it may be addressed; empty is any.
        limits: Bounds; None is the usual ones.
        log: Takes the lines of the access log; None keeps none.
    """
    limits, metrics = limits or Limits(), Requests()
    metrics.also(collector)
    forward = Forward(upstream, Chats(collector, labels), limits)

    @contextlib.asynccontextmanager
    async def open_to_its_end(_: FastAPI) -> AsyncIterator[None]:
        async with upstream.transport:
            yield

    own = FastAPI(openapi_url=None, lifespan=open_to_its_end)
    own.add_middleware(Admission, key=key, limits=limits, open_paths=OPEN)
    add_route(own, Corrections(collector.place, spaces))
    worded(own, Unknown)

    @own.get(HEALTH)
    async def healthz() -> JSONResponse:
        """Ready: the server behind answers, and this one is not told to stop."""
        there = await upstream.answers()
        state = "draining" if forward.draining else "ok" if there else "the server behind does not answer"
        return JSONResponse({"status": state, "upstream": there}, 200 if state == "ok" else 503)

    @own.get(LIVE)
    async def livez() -> dict[str, str]:
        """Alive, whatever the server behind is."""
        return {"status": "ok"}

    @own.get(FIGURES)
    async def figures() -> Response:
        """For Prometheus, of this server."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] != "http" or scope["path"] in OWN
        await (own if ours else forward)(scope, receive, send)

    app: ASGIApp = either
    if hosts:
        app = TrustedHostMiddleware(app, allowed_hosts=list(hosts), www_redirect=False)
    return Sidecar(Measured(app, metrics, log, WATCHED), forward)
