"""The HTTP application: routes and health; what is let in to it is in ``limits``, its errors in ``refusals``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from selfemo import __version__
from selfemo.serving.answers import Answers
from selfemo.serving.collect import Collector
from selfemo.serving.feedback import Corrections, add_route
from selfemo.serving.labels import Unknown, space_named
from selfemo.serving.limits import HEALTH, LIVE, METRICS, Admission, Limits
from selfemo.serving.metrics import Measured, Metrics
from selfemo.serving.record import record_of
from selfemo.serving.refusals import worded
from selfemo.serving.scheduler import Scheduler
from selfemo.serving.schema import ChatRequest, EmotionsRequest, EmotionsResponse
from selfemo.serving.service import RequestRefused, Service


def app(
    service: Service,
    key: str = "",
    hosts: Sequence[str] = (),
    limits: Limits | None = None,
    log: Callable[[str], None] | None = None,
    collector: Collector | None = None,
) -> FastAPI:
    """The application; its state holds the ``scheduler``.

    Args:
        service: What answers.
        key: That clients have to give as a bearer token, or several, parted by spaces; empty asks for none.
        hosts: Names by which it may be addressed; empty is any. Without a key it keeps a web page from reading the
            server of whoever looks at it, under a name of its own that stands for their machine (DNS rebinding).
        limits: Bounds; None is the usual ones.
        log: Takes the lines of the access log; None keeps none.
        collector: Keeps the conversations whose clients agree, and takes corrections of them; None does neither.
    """
    limits = limits or Limits()
    metrics = Metrics()
    scheduler = Scheduler(service.stepper(limits.together), limits, metrics.stepped)
    answers = Answers(service, scheduler, limits, collector)
    metrics.watch(scheduler, answers.sessions)
    made = FastAPI(title="self-emo", version=__version__, description=f"Serves {service.name}.")
    made.state.scheduler = scheduler

    made.add_middleware(Admission, key=key, limits=limits)
    if hosts:
        made.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    made.add_middleware(Measured, metrics=metrics, log=log)  # the last one that is added comes first

    if collector is not None:
        metrics.also(collector)
        add_route(made, Corrections(collector.place, service.spaces, service.labels))

    @made.get(HEALTH)
    async def healthz() -> JSONResponse:
        """Ready: the policy is loaded before the server listens; 503 once it is told to stop. Waits for nothing."""
        ready = not scheduler.draining
        return JSONResponse({"status": "ok" if ready else "draining", "model": service.name}, 200 if ready else 503)

    @made.get(LIVE)
    async def livez() -> dict[str, str]:
        """Alive, also while it stops. Waits for nothing."""
        return {"status": "ok"}

    @made.get(METRICS, include_in_schema=False)
    async def figures() -> Response:
        """For Prometheus. Waits for nothing."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @made.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model, and what exactly it is."""
        row = {"id": service.name, "object": "model", "created": 0, "owned_by": "self-emo", **service.identity}
        return {"object": "list", "data": [row]}

    @made.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """The same by its name."""
        _known(name)
        return {"id": service.name, "object": "model", "created": 0, "owned_by": "self-emo", **service.identity}

    @made.post("/v1/chat/completions", response_model=None)
    async def chat(asked: ChatRequest, request: Request) -> dict[str, Any] | Response:
        """OpenAI's chat completions, whole or streamed token by token."""
        _known(asked.model or service.name)
        return await answers.chat(asked, record_of(request.scope), request.receive)

    @made.post("/v1/emotions")
    async def emotions(asked: EmotionsRequest, request: Request) -> EmotionsResponse:
        """A dialogue in, or the next turns of a session; label sets with scores out."""
        found = await answers.emotions(asked, record_of(request.scope), request.receive)
        metrics.read(space_named(asked.labels or service.labels, service.spaces), found.turns)
        return found

    @made.delete("/v1/sessions/{name}", status_code=204)
    async def forget(name: str, request: Request) -> Response:
        """Forget a session's turns at once."""
        if not answers.sessions.delete(record_of(request.scope).space, name):
            raise HTTPException(404, "no such session, or none any longer")
        return Response(status_code=204)

    def _known(name: str) -> None:
        if name != service.name:
            raise HTTPException(404, f"no model {name!r}; there is {service.name!r}")

    worded(made, RequestRefused, Unknown)
    return made
