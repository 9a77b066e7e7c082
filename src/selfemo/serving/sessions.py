"""Conversations that go on: the turns that a server remembers for a client, so that it sends new ones alone.

What is remembered is what a prompt shows, so a session is as large as a window of history. Keys and values are another
matter: they are kept by the engine as long as there is room, and computed again where there is not. Defined here.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from starlette.exceptions import HTTPException

from selfemo.data.dialogue import Utterance

Window = Callable[[Sequence[Utterance]], Sequence[Utterance]]


@dataclass(frozen=True)
class SessionBounds:
    """Of all sessions of a server.

    Attributes:
        number: Most of them; the one that was used longest ago goes.
        seconds: After which one that is not used is forgotten.
        characters: Most of the text that is held, in all.
    """

    number: int = 1_000
    seconds: float = 1_800.0
    characters: int = 8_000_000


@dataclass
class Session:
    """One conversation.

    Attributes:
        name: As its client knows it.
        turns: Those that a prompt would show.
        count: All that there have been.
        used: When it was used last.
        agreed: Whether the clients of all requests that brought its turns say that they may be kept.
    """

    name: str
    turns: list[Utterance]
    count: int
    used: float
    agreed: bool = True

    @property
    def size(self) -> int:
        """Characters."""
        return sum(len(t.speaker) + len(t.text) for t in self.turns)


class Sessions:
    """Those of a server, each visible to the key that made it alone. Not safe for threads.

    Args:
        window: The turns of a history that a prompt shows.
        bounds: Of them.
        clock: Seconds that only grow.
    """

    def __init__(
        self, window: Window, bounds: SessionBounds | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.window, self.bounds, self.clock = window, bounds or SessionBounds(), clock
        self._by_name: dict[tuple[str, str], Session] = {}
        self._characters = 0

    def __len__(self) -> int:
        self._forget()
        return len(self._by_name)

    def find(self, space: str, name: str | None, after: int | None) -> Session:
        """A session to go on with.

        Args:
            space: Of the key.
            name: The client's own, or one that the server gave; None makes one.
            after: Turns that it has to hold; None asks for nothing.

        Raises:
            HTTPException: 404 for a name of the server's that is not known, 409 if it holds other turns.
        """
        self._forget()
        found = self._by_name.get((space, name)) if name is not None else None
        if found is None:
            if name is not None and name.startswith(OURS):
                raise HTTPException(404, "no such session, or none any longer: begin another with all turns")
            found = Session(name or f"{OURS}{secrets.token_hex(16)}", [], 0, self.clock())
        if after is not None and after != found.count:
            raise HTTPException(409, f"the session holds {found.count} turns, not {after}")
        return found

    def remember(
        self, space: str, session: Session, turns: Sequence[Utterance], agreed: bool = True
    ) -> Callable[[], None]:
        """Add turns to a session, and let go of others if there is no room.

        Args:
            space: Of the key.
            session: To add them to.
            turns: Of a request.
            agreed: Whether its client says that they may be kept.

        Returns:
            What takes it back, unless the session has gone on since: for turns that were not answered.
        """
        key, before = (space, session.name), replace(session)
        self._drop(key)
        session.turns = list(self.window([*session.turns, *turns]))
        session.count, session.used = session.count + len(turns), self.clock()
        session.agreed &= agreed
        self._by_name[key] = session
        self._characters += session.size
        while len(self._by_name) > self.bounds.number or self._characters > self.bounds.characters:
            self._drop(next(iter(self._by_name)))
        after = session.count

        def undo() -> None:
            if self._by_name.get(key) is session and session.count == after:
                self._drop(key)
                if before.count:
                    session.turns, session.count, session.agreed = before.turns, before.count, before.agreed
                    self._by_name[key] = session
                    self._characters += session.size

        return undo

    def delete(self, space: str, name: str) -> bool:
        """Forget one; whether there was one."""
        there = (space, name) in self._by_name
        self._drop((space, name))
        return there

    def _drop(self, key: tuple[str, str]) -> None:
        if (session := self._by_name.pop(key, None)) is not None:
            self._characters -= session.size

    def _forget(self) -> None:
        """Drop those that are too old: they stand in the order in which they were used."""
        limit = self.clock() - self.bounds.seconds
        while self._by_name and next(iter(self._by_name.values())).used < limit:
            self._drop(next(iter(self._by_name)))


OURS = "sess-"
"""Names that the server gives begin with this."""


def space_of(key: str) -> str:
    """What stands for a key where things are kept apart by it; it does not tell the key."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]
