"""The HTTP server: routes, errors as OpenAI words them, an optional key, health."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from selfemo import __version__
from selfemo.serving.schema import ChatRequest, EmotionsRequest, EmotionsResponse
from selfemo.serving.service import Service, TooLong

MAX_BYTES = 1 << 20
"""Of a request."""


def app(service: Service, key: str = "") -> FastAPI:
    """The application.

    Args:
        service: What answers.
        key: That clients have to give as a bearer token; empty asks for none.
    """
    made = FastAPI(title="self-emo", version=__version__, description=f"Serves {service.name}.")

    def allowed(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if key and not hmac.compare_digest(given.encode(), key.encode()):
            raise HTTPException(401, "give the key as a bearer token")
        if int(request.headers.get("content-length") or MAX_BYTES + 1) > MAX_BYTES and request.method == "POST":
            raise HTTPException(413, f"a request has a length, and at most {MAX_BYTES} bytes")

    guarded = [Depends(allowed)]

    @made.get("/healthz")
    def healthz() -> dict[str, str]:
        """Alive, and able to answer: the policy is loaded before the server listens."""
        return {"status": "ok", "model": service.name}

    @made.get("/v1/models", dependencies=guarded)
    def models() -> dict[str, Any]:
        """The one model, and what exactly it is."""
        row = {"id": service.name, "object": "model", "created": 0, "owned_by": "self-emo", **service.identity}
        return {"object": "list", "data": [row]}

    @made.post("/v1/chat/completions", dependencies=guarded, response_model=None)
    def chat(request: ChatRequest) -> dict[str, Any] | StreamingResponse:
        """OpenAI's chat completions. A stream is the whole answer in one piece: it is not made token by token."""
        if request.model and request.model != service.name:
            raise HTTPException(404, f"no model {request.model!r}; there is {service.name!r}")
        answer = service.chat(request)
        if not request.stream:
            return answer
        return StreamingResponse(_events(answer), media_type="text/event-stream")

    @made.post("/v1/emotions", dependencies=guarded)
    def emotions(request: EmotionsRequest) -> EmotionsResponse:
        """A dialogue in, label sets with scores out."""
        return service.emotions(request)

    @made.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    @made.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return _error(400, f"{place}: {first['msg']}" if place else str(first["msg"]))

    @made.exception_handler(TooLong)
    def too_long(_: Request, error: TooLong) -> JSONResponse:
        return _error(400, str(error))

    return made


def _events(answer: dict[str, Any]) -> Iterator[str]:
    """A finished answer as server-sent events."""
    head = {k: answer[k] for k in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    for choice in answer["choices"]:
        for delta, reason in ((choice["message"], None), ({}, choice["finish_reason"])):
            row = {**head, "choices": [{"index": choice["index"], "delta": delta, "finish_reason": reason}]}
            yield f"data: {json.dumps(row)}\n\n"
    yield "data: [DONE]\n\n"


def _error(status: int, message: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status)
