"""The two servers, asked past the gateway: what each serves, and what each reads in the same conversations."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selfemo.canary.web import called
from selfemo.config.canary import Server
from selfemo.data.dialogue import Dialogue
from selfemo.errors import UserError
from selfemo.serving.command import KEY

log = logging.getLogger(__name__)

TRIES, PAUSE = 3, 5.0
"""How often a server that does not answer is asked before that is believed, and seconds between."""
TURNS, CHARACTERS, SPEAKER = 200, 8_000, 100
"""Of a conversation, how much a server takes; its end counts."""


def key() -> str:
    """The key that both servers ask for, of several the first; empty if none is set."""
    return next(iter(os.environ.get(KEY, "").split()), "")


@dataclass(frozen=True)
class Health:
    """What a server serves.

    Attributes:
        answers: Whether it does.
        digest: Of its weights; empty where it does not say, as vLLM's own server.
        words: Why it does not answer.
    """

    answers: bool
    digest: str = ""
    words: str = ""


def health(server: Server, where: str, sleep: Callable[[float], None] = time.sleep) -> Health:
    """What a server serves, asked several times before it is taken for away.

    Args:
        server: Which.
        where: The setting that names it.
        sleep: Waits.

    Raises:
        UserError: If it does not take the key: that is no fault of what it serves.
    """
    said = ""
    for attempt in range(TRIES):
        if attempt:
            sleep(PAUSE)
        try:
            answer = called(f"{server.url}/v1/models", where=where, key=key())
        except UserError as error:
            said = error.message
            continue
        if answer.status in (401, 403):
            raise UserError(
                f"{server.url} does not take the key", where=where, fix=f"export {KEY}, as the servers have it"
            )
        try:
            row = answer.json()["data"][0]
            if answer.status == 200:
                return Health(True, str(row.get("digest", "")))
        except (ValueError, LookupError, TypeError, AttributeError):
            pass
        said = f"{server.url} answers {answer.status} at /v1/models"
    return Health(False, words=said)


def labels(server: Server, dialogue: Dialogue, where: str) -> frozenset[str] | None:
    """The label set that a server reads in the last turn of a conversation; None if it reads none.

    Raises:
        UserError: If no answer comes.
    """
    turns = [
        {"speaker": turn.speaker[:SPEAKER] or "User", "text": turn.text[:CHARACTERS]}
        for turn in dialogue.turns[-TURNS:]
    ]
    body = {"turns": turns, "labels": dialogue.corpus, "last_only": True}
    answer = called(f"{server.url}/v1/emotions", where=where, body=body, key=key())
    try:
        if answer.status != 200:
            return None
        return frozenset(str(label) for label in answer.json()["turns"][-1]["emotions"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def compared(champion: Server, canary: Server, dialogues: Sequence[Dialogue]) -> tuple[int, int]:
    """In how many of how many conversations the two read different label sets.

    What either does not answer is left out: that it fails is counted among its errors.

    Raises:
        UserError: If one of them does not answer at all.
    """
    differ = asked = 0
    for dialogue in dialogues:
        one, other = labels(champion, dialogue, "canary.champion.url"), labels(canary, dialogue, "canary.canary.url")
        if one is not None and other is not None:
            asked += 1
            differ += one != other
    log.info("both were asked for %d conversations, and answered %d", len(dialogues), asked)
    return differ, asked
