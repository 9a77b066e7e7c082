"""The key for all of vLLM's own server, and bounds on what it reads; vLLM loads it by name (``--middleware``).

vLLM asks for its ``--api-key`` under ``/v1`` alone: in 0.31 ``/invocations`` answers a chat to whoever asks,
``/tokenize`` and ``/generative_scoring`` run, and ``/scale_elastic_ep`` changes the server. It takes one key, and
bodies of any size.
"""

from __future__ import annotations

import os

from starlette.types import ASGIApp, Receive, Scope, Send

from selfemo.errors import UserError
from selfemo.serving.command import KEY
from selfemo.serving.limits import METRICS, Admission, Limits
from selfemo.serving.sidecar.forward import BODY_BYTES

OPEN = ("/health", METRICS)
"""For probes and Prometheus, which have no key."""


class VllmAdmission:
    """Lets requests in to vLLM that give the key of ``SELFEMO_SERVE_KEY``, or one of its keys, and are small enough.

    Args:
        app: vLLM's.

    Raises:
        UserError: If there is no key: vLLM would then answer everybody.
    """

    def __init__(self, app: ASGIApp) -> None:
        key = os.environ.get(KEY, "")
        if not key.split():
            raise UserError("clients of vLLM have to give a key, and there is none", where=KEY, fix=f"export {KEY}")
        self.app = app
        self.admission = Admission(app, key, Limits(body_bytes=BODY_BYTES), OPEN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # speech, which the policies do not have
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and scope["method"] == "OPTIONS":  # a browser asks before it gives the key
            await self.app(scope, receive, send)
        else:
            await self.admission(scope, receive, send)
