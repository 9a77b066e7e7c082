"""One request to a server, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfemo.errors import UserError
from selfemo.logs import printable

SECONDS = 60.0
"""For an answer: as long as a full queue of `selfemo serve` takes."""
MOST = 16 << 20
"""Bytes of an answer that are read."""


@dataclass(frozen=True)
class HttpAnswer:
    """What a server said.

    Attributes:
        status: Of HTTP.
        body: As it came.
    """

    status: int
    body: bytes

    def json(self) -> Any:
        """The body.

        Raises:
            ValueError: If it is no JSON.
        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deep") from None


def called(
    url: str, *, where: str, form: Mapping[str, str] | None = None, body: Any = None, key: str = ""
) -> HttpAnswer:
    """Ask, by GET if there is nothing to send.

    Args:
        url: Whom.
        where: The setting that names it, for the error.
        form: Sent as a form.
        body: Sent as JSON.
        key: Bearer token.

    Raises:
        UserError: If no answer comes.
    """
    import requests

    headers = {"authorization": f"Bearer {key}"} if key else {}
    method = "GET" if form is None and body is None else "POST"
    try:
        # No redirect is followed: the key is for this server alone.
        with requests.request(
            method, url, data=form, json=body, headers=headers, timeout=SECONDS, stream=True, allow_redirects=False
        ) as answer:
            return HttpAnswer(answer.status_code, answer.raw.read(MOST, decode_content=True))
    except (requests.RequestException, OSError, ValueError) as error:
        raise UserError(f"{url} does not answer: {_why(error)}", where=where, fix="see whether it runs") from None


def _why(error: BaseException) -> str:
    """The system's own words where it has some: what stands around them names our libraries."""
    found, cause = str(error), error.__context__
    for _ in range(10):
        if cause is None:
            break
        found = cause.strerror or found if isinstance(cause, OSError) and isinstance(cause.strerror, str) else found
        cause = cause.__context__
    return " ".join(printable(found).split())[:300]
