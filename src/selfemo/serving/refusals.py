"""What an application refuses, as OpenAI words it."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from selfemo.serving.limits import error


def worded(made: FastAPI, *wrong: type[ValueError]) -> None:
    """Have an application tell its refusals so.

    Args:
        made: The application.
        wrong: What its routes raise of a request that cannot be answered, beside HTTP's own.
    """

    @made.exception_handler(HTTPException)
    async def refused(_: Request, refusal: HTTPException) -> JSONResponse:
        return error(refusal.status_code, str(refusal.detail), refusal.headers)

    @made.exception_handler(RequestValidationError)
    async def invalid(_: Request, refusal: RequestValidationError) -> JSONResponse:
        first = refusal.errors()[0]
        if first["type"] == "json_invalid":
            return error(400, "the body is not JSON")
        whole = "" if first["type"] == "value_error" else "the body"  # whose words name what they are about
        place = ".".join(str(part) for part in first["loc"][1:]) or whole
        said = str(first["msg"]).removeprefix("Value error, ")
        return error(400, f"{place}: {said}" if place else said)

    async def cannot(_: Request, refusal: Exception) -> JSONResponse:
        return error(400, str(refusal))

    for kind in wrong:
        made.add_exception_handler(kind, cannot)
