"""What is known of each request without its text: an id, its key's space, tokens; one line of the access log."""

from __future__ import annotations

import json
import re
import secrets
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.types import Scope

KEY = "selfemo"
"""Under which a request's scope holds its record."""
HEADER = b"x-request-id"
COLLECT, CONVERSATION, DIALOGUE = b"x-selfemo-collect", b"x-selfemo-conversation", b"x-selfemo-dialogue"
"""A client's word that the request's conversation may be kept (``yes``), its name for it, and ours if it is kept."""
_SAFE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


@dataclass
class RequestRecord:
    """One request.

    Attributes:
        id: Its client's, if it is a safe one; else made here.
        space: Stands for the key that it came with.
        prompt: Tokens of its prompts; None if they are not known here.
        reused: Of these, those that were there already.
        written: Tokens of its answers.
        consents: Whether its client says that its conversation may be kept.
        conversation: The client's name for that.
        dialogue: Under which it is kept; empty if it is not.
        answer: Id of a chat's answer.
    """

    id: str
    space: str = ""
    prompt: int | None = 0
    reused: int | None = 0
    written: int | None = 0
    consents: bool = False
    conversation: str = ""
    dialogue: str = ""
    answer: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of its answer."""
        kept = [(DIALOGUE, quote(self.dialogue, safe="/").encode())] if self.dialogue else []
        return [(HEADER, self.id.encode()), *kept]

    def tokens(self, prompt: int | None, reused: int | None, written: int | None) -> None:
        """Say what it cost."""
        self.prompt, self.reused, self.written = prompt, reused, written

    def named(self, given: bytes) -> None:
        """Take over an id, if it is a safe one."""
        if _SAFE.fullmatch(given):
            self.id = given.decode()

    def line(self, method: str, path: str, status: int, seconds: float) -> str:
        """Its line of the log, as JSON; nothing in it was written by a user but a safe id."""
        row = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "id": self.id,
            "method": method,
            "path": path,
            "status": status,
            "seconds": round(seconds, 4),
            "prompt_tokens": self.prompt,
            "cached_tokens": self.reused,
            "completion_tokens": self.written,
        }
        return json.dumps(row)


def record_of(scope: Scope) -> RequestRecord:
    """A request's record; made when it is first asked for."""
    if KEY not in scope:
        given = dict(reversed(scope["headers"]))  # the first of each name counts
        own, said = given.get(HEADER, b""), given.get(CONVERSATION, b"")
        agreed = {value.strip().lower() for name, value in scope["headers"] if name == COLLECT}
        scope[KEY] = RequestRecord(
            own.decode() if _SAFE.fullmatch(own) else uuid.uuid4().hex,
            consents=agreed == {b"yes"},  # who says both yes and no has not agreed
            conversation=said.decode() if _SAFE.fullmatch(said) else "",
        )
    found: RequestRecord = scope[KEY]
    return found
