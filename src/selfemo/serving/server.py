"""uvicorn, set up for the application: what it reads, how long it waits, how it stops."""

from __future__ import annotations

import errno
import resource
import socket
import time
from asyncio import TimerHandle, Transport, to_thread
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from selfemo.errors import UserError
from selfemo.serving.limits import Limits

_FILES = 65_536
"""Files, so connections, that the process may have open, where the system lets it."""

_SLOW_SECONDS = 5
"""For clients that have not read their answers when the server has stopped otherwise."""


class Drained(Protocol):
    """What has requests to finish: a scheduler, or what passes requests on."""

    @property
    def draining(self) -> bool:
        """Whether it takes nothing new."""

    @property
    def held(self) -> int:
        """Requests that are not finished."""

    def drain(self) -> None:
        """Take nothing new; what is there is finished."""

    def give_up(self) -> None:
        """Tell all who wait that the server stops."""


def server(
    app: ASGIApp,
    host: str,
    port: int,
    limits: Limits | None = None,
    scheduler: Drained | None = None,
    *,
    at_end: Callable[[], None] | None = None,
    between: bool = False,
) -> uvicorn.Server:
    """A server that is ready to run.

    h11 rather than whichever parser is installed: it bounds a request's head (16 KiB), and it is the tested one.
    Connections are not counted (``limit_concurrency``): beyond a limit uvicorn answers 503 to everybody, health
    included, and the pod would be killed for its clients. Those without a whole request are closed in time instead.

    Args:
        app: What answers.
        host: Address to listen on.
        port: To listen on.
        limits: Bounds; None is the usual ones.
        scheduler: Of the application: what it works on is finished first when the server is told to stop.
        at_end: What is left to do after the last answer, where there is a scheduler: after it uvicorn raises the signal
            that it was stopped by once more, and SIGTERM ends the process there and then.
        between: Whether it stands between clients and another server, and so says nothing of itself in the answers, and
            takes nobody's word for who asks.
    """
    bounds = limits or Limits()

    class Connection(_Connection):
        seconds = bounds.head_seconds

    settings = uvicorn.Config(
        app,
        host,
        port,
        http=Connection,
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=not between,
        server_header=not between,
        date_header=not between,
        # Of a scheduler's requests all are finished or told by then: what is left are clients who read slowly.
        timeout_graceful_shutdown=bounds.stop_seconds if scheduler is None else min(_SLOW_SECONDS, bounds.stop_seconds),
    )
    if scheduler is None:
        return uvicorn.Server(settings)
    return DrainingServer(settings, scheduler, bounds.stop_seconds, at_end or (lambda: None))


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which goes on listening while it finishes what it has: others are told to go elsewhere.

    uvicorn's own stops listening at once, and a request that a load balancer still sends is met by a closed port.

    Args:
        settings: See uvicorn.
        scheduler: What has to be finished.
        seconds: In which; who waits longer is told that the server stops.
        at_end: What is done then, in a thread.
    """

    def __init__(
        self, settings: uvicorn.Config, scheduler: Drained, seconds: float, at_end: Callable[[], None]
    ) -> None:
        super().__init__(settings)
        self.scheduler, self.seconds, self.at_end = scheduler, seconds, at_end
        self._end = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Told to stop: begin to drain; told again, stop as uvicorn does."""
        if self.scheduler.draining:
            super().handle_exit(sig, frame)
            return
        super().handle_exit(sig, frame)
        self.should_exit = False
        self._end = time.monotonic() + self.seconds
        self.scheduler.drain()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn; and what is left to do then."""
        await super().shutdown(sockets)
        await to_thread(self.at_end)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        stops = await super().on_tick(counter)
        if self.scheduler.draining and not stops:
            if time.monotonic() >= self._end:
                self.scheduler.give_up()
                return True
            return self.scheduler.held == 0
        return stops


def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets for a server, bound and not yet listening: a port that is taken is found before a model is loaded.

    Raises:
        UserError: If the host has no address here, or its port cannot be had.
    """
    made: list[socket.socket] = []
    try:
        found = list(dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        for family, kind, protocol, _, address in found:
            made.append(socket.socket(family, kind, protocol))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                made[-1].bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL or len(found) == 1:  # a name may have an address of IPv6, too
                    raise
                made.pop().close()
        if not made:
            raise OSError(errno.EADDRNOTAVAIL, "no address of this machine")
    except OSError as error:
        for taken in made:
            taken.close()
        where = "--host" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else "--port"
        fix = "listen on an address of this machine" if where == "--host" else "give another --port, or end what has it"
        raise UserError(f"{host}:{port}: {error.strerror}", where=where, fix=fix) from None
    return made


def more_files() -> None:
    """Let the process have as many connections as the system allows: shells often give 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Connection(H11Protocol):
    """uvicorn's connection, which also ends if a request's head does not arrive: uvicorn has no limit of its own.

    Looks at the connection from time to time: one that waits for a head, as it did at the last look, is closed. That
    also ends a connection over which a client goes on sending what it was refused.
    """

    seconds: float
    _look: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._look = self.loop.call_later(self.seconds, self._look_after, None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _look_after(self, answered: object) -> None:
        """Close the connection if it still waits for a head, and the last request is the one of the last look.

        Args:
            answered: The request that had been answered at the last look, None if there had been none yet; anything
                else if one was at work.
        """
        request: RequestResponseCycle | None = self.cycle
        waits = request is None or request.response_complete
        if waits and request is answered:
            self.transport.close()
        else:
            self._look = self.loop.call_later(self.seconds, self._look_after, request if waits else self)
