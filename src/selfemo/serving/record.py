"""What is known of each request without its text: an id, its key's space, tokens; one line of the access log."""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import dataclass

from starlette.types import Scope

KEY = "selfemo"
"""Under which a request's scope holds its record."""
HEADER = b"x-request-id"
_SAFE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


@dataclass
class Record:
    """One request.

    Attributes:
        id: Its client's, if it is a safe one; else made here.
        space: Stands for the key that it came with.
        prompt: Tokens of its prompts.
        reused: Of these, those that were there already.
        written: Tokens of its answers.
    """

    id: str
    space: str = ""
    prompt: int = 0
    reused: int = 0
    written: int = 0

    def tokens(self, prompt: int, reused: int, written: int) -> None:
        """Say what it cost."""
        self.prompt, self.reused, self.written = prompt, reused, written

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


def record_of(scope: Scope) -> Record:
    """A request's record; made when it is first asked for."""
    if KEY not in scope:
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        scope[KEY] = Record(given.decode() if _SAFE.fullmatch(given) else uuid.uuid4().hex)
    found: Record = scope[KEY]
    return found
