"""The page on which a person labels turns, and what serves it on this machine alone.

What the page shows comes from clients and models: it is sent as JSON and put into the page as text. Other pages of the
same browser cannot label: each request carries a token that only the page's address has, and the Host is looked at.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Header
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from selfemo.data.corrections import Correction
from selfemo.data.feedback import Feedback
from selfemo.errors import UserError
from selfemo.reachable import LOOPBACK
from selfemo.review.asked import Asked

_PAGE = Path(__file__).with_name("page.html")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


class Label(BaseModel):
    """What a person says of a turn."""

    model_config = ConfigDict(extra="forbid")

    dialogue: str = Field(max_length=1000)
    turn: int = Field(ge=0)
    labels: list[str] = Field(max_length=64)
    """Primary label first; none takes back what was said."""


def application(turns: Sequence[Asked], place: Feedback, who: str, token: str) -> FastAPI:
    """The page with its two requests.

    Args:
        turns: To be labelled, in this order.
        place: Where the labels go.
        who: Gives them.
        token: Has to come with each request; the page reads it from the part of its address after ``#``.
    """

    def trusted(x_selfemo_token: str = Header("")) -> None:
        if not hmac.compare_digest(x_selfemo_token.encode(), token.encode()):
            raise HTTPException(403, "open the page by the address that `selfemo review open` printed")

    made = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    made.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK), www_redirect=False)
    known = {turn.key: turn for turn in turns}

    @made.get("/")
    def page() -> HTMLResponse:
        headers = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer", "cache-control": "no-store"}
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"), headers=headers)

    @made.get("/turns", dependencies=[Depends(trusted)])
    def listed() -> dict[str, Any]:
        return {"who": who, "turns": [_plain(turn) for turn in turns]}

    @made.post("/label", dependencies=[Depends(trusted)])
    def label(said: Label) -> dict[str, str]:
        turn = known.get((said.dialogue, said.turn))
        if turn is None or any(name not in turn.space.index for name in said.labels):
            raise HTTPException(400, "not one of these turns, or not a label of its space")
        labels = tuple(dict.fromkeys(said.labels))
        now = datetime.now(UTC)
        row = Correction(dialogue=said.dialogue, turn=said.turn, labels=labels, who=who, when=now, source="review")
        try:
            return {"written": place.add_corrections([row])}
        except (UserError, OSError) as error:
            raise HTTPException(503, f"it could not be written: {error}") from None

    return made


def _plain(turn: Asked) -> dict[str, Any]:
    return {
        "dialogue": turn.dialogue,
        "turn": turn.turn,
        "labels": [{"name": name, "means": turn.space.descriptions.get(name, "")} for name in turn.space.labels],
        "history": [{"speaker": said.speaker, "text": said.text} for said in turn.history],
        "speaker": turn.said.speaker,
        "text": turn.said.text,
        "chances": list(turn.chances.items())[:5],
        "why": turn.why,
    }
