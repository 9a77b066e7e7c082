"""The page on which a person labels turns, and what serves it on this machine alone.

What the page shows comes from clients and models: it is sent as JSON and put into the page as text. Other pages of the
same browser cannot label: each request carries a token that only the page's address has, and the Host is looked at.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from selfemo.errors import UserError
from selfemo.reachable import LOOPBACK
from selfemo.review.asked import Asked
from selfemo.review.sitting import Sitting

_PAGE = Path(__file__).with_name("page.html")
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class At(BaseModel):
    """Which turn, as its position among those that are asked about."""

    model_config = ConfigDict(extra="forbid")

    at: int


class LabelRequest(At):
    """What a person says of a turn, primary label first."""

    labels: list[str] = Field(min_length=1, max_length=64)


def application(sitting: Sitting, token: str) -> FastAPI:
    """The page with its requests.

    Args:
        sitting: What is labelled, and by whom.
        token: Has to come with each request; the page reads it from the part of its address after ``#``.
    """
    made = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @made.middleware("http")
    async def trusted(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("x-selfemo-token", "")
        if request.url.path != "/" and not hmac.compare_digest(given.encode(), token.encode()):
            return _refused(403, "open the page by the address that `selfemo review open` printed")
        return await answer(request)  # a body is read only here

    made.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK), www_redirect=False)

    @made.exception_handler(UserError)
    def wrong(_: Request, error: UserError) -> JSONResponse:
        return _refused(400, str(error))

    @made.exception_handler(OSError)
    def away(_: Request, error: OSError) -> JSONResponse:
        return _refused(503, f"it could not be written: {error.strerror or error}")

    @made.get("/")
    def page() -> HTMLResponse:
        headers = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer", "cache-control": "no-store"}
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"), headers=headers)

    @made.get("/turns")
    def listed() -> dict[str, Any]:
        return {"who": sitting.who, "turns": [_plain(turn) for turn in sitting.turns], "past": sitting.past}

    @made.post("/label")
    def label(said: LabelRequest) -> dict[str, Any]:
        sitting.label(said.at, said.labels)
        return {"past": sitting.past}

    @made.post("/skip")
    def skip(said: At) -> dict[str, Any]:
        sitting.skip(said.at)
        return {"past": sitting.past}

    @made.post("/undo")
    def undo() -> dict[str, Any]:
        sitting.undo()
        return {"past": sitting.past}

    return made


def _refused(status: int, why: str) -> JSONResponse:
    return JSONResponse({"detail": why}, status)


def _plain(turn: Asked) -> dict[str, Any]:
    other: dict[str, list[str]] = {}
    for alias, label in turn.space.aliases.items():
        other.setdefault(label, []).append(alias)
    return {
        "labels": [
            {"name": name, "means": turn.space.descriptions.get(name, ""), "aliases": other.get(name, [])}
            for name in turn.space.labels
        ],
        "history": [{"speaker": said.speaker, "text": said.text} for said in turn.history],
        "speaker": turn.said.speaker,
        "text": turn.said.text,
        "chances": list(turn.chances.items())[:5],
        "why": turn.why,
    }
