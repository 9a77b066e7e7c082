"""The HTTP application: routes, errors as OpenAI words them, health; what is let in to it is in ``limits``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from selfemo import __version__
from selfemo.serving.engine_queue import EngineQueue
from selfemo.serving.limits import HEALTH, METRICS, Admission, Limits, error
from selfemo.serving.metrics import Measured, Metrics
from selfemo.serving.schema import ChatRequest, EmotionsRequest, EmotionsResponse
from selfemo.serving.service import Service, TooLong, UnknownLabels


def app(service: Service, key: str = "", hosts: Sequence[str] = (), limits: Limits | None = None) -> FastAPI:
    """The application.

    Args:
        service: What answers.
        key: That clients have to give as a bearer token; empty asks for none.
        hosts: Names by which it may be addressed; empty is any. Without a key it keeps a web page from reading the
            server of whoever looks at it, under a name of its own that stands for their machine (DNS rebinding).
        limits: Bounds; None is the usual ones.
    """
    limits = limits or Limits()
    engine = EngineQueue(limits)
    metrics = Metrics(lambda: engine.held)
    made = FastAPI(title="self-emo", version=__version__, description=f"Serves {service.name}.")

    made.add_middleware(Admission, key=key, limits=limits)
    if hosts:
        made.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    made.add_middleware(Measured, metrics=metrics)  # the last one that is added comes first

    @made.get(HEALTH)
    async def healthz() -> dict[str, str]:
        """Alive, and able to answer: the policy is loaded before the server listens. Waits for nothing."""
        return {"status": "ok", "model": service.name}

    @made.get(METRICS, include_in_schema=False)
    async def figures() -> Response:
        """For Prometheus. Waits for nothing."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @made.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model, and what exactly it is."""
        row = {"id": service.name, "object": "model", "created": 0, "owned_by": "self-emo", **service.identity}
        return {"object": "list", "data": [row]}

    @made.post("/v1/chat/completions", response_model=None)
    async def chat(asked: ChatRequest, request: Request) -> dict[str, Any] | StreamingResponse:
        """OpenAI's chat completions. A stream is the whole answer in one piece: it is not made token by token."""
        if asked.model and asked.model != service.name:
            raise HTTPException(404, f"no model {asked.model!r}; there is {service.name!r}")
        answer = await engine.run(lambda: service.chat(asked), request.receive)
        if not asked.stream:
            return answer
        return StreamingResponse(_events(answer), media_type="text/event-stream")

    @made.post("/v1/emotions")
    async def emotions(asked: EmotionsRequest, request: Request) -> EmotionsResponse:
        """A dialogue in, label sets with scores out."""
        return await engine.run(lambda: service.emotions(asked), request.receive)

    @made.exception_handler(HTTPException)
    async def refused(_: Request, refusal: HTTPException) -> JSONResponse:
        return error(refusal.status_code, str(refusal.detail), refusal.headers)

    @made.exception_handler(RequestValidationError)
    async def invalid(_: Request, refusal: RequestValidationError) -> JSONResponse:
        first = refusal.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return error(400, f"{place}: {first['msg']}" if place else str(first["msg"]))

    @made.exception_handler(TooLong)
    @made.exception_handler(UnknownLabels)
    async def not_answered(_: Request, refusal: ValueError) -> JSONResponse:
        return error(400, str(refusal))

    return made


def _events(answer: dict[str, Any]) -> Iterator[str]:
    """A finished answer as server-sent events."""
    head = {k: answer[k] for k in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    for choice in answer["choices"]:
        for delta, reason in ((choice["message"], None), ({}, choice["finish_reason"])):
            row = {**head, "choices": [{"index": choice["index"], "delta": delta, "finish_reason": reason}]}
            yield f"data: {json.dumps(row)}\n\n"
    yield "data: [DONE]\n\n"
