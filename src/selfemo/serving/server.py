"""uvicorn, set up for the application: what it reads, how long it waits, how it stops."""

from __future__ import annotations

import errno
import resource
import socket
import time
from asyncio import TimerHandle, Transport
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from selfemo.errors import UserError
from selfemo.serving.limits import Limits
from selfemo.serving.scheduler import Scheduler

_FILES = 65_536
"""Files, so connections, that the process may have open, where the system lets it."""

_SLOW_SECONDS = 5
"""For clients that have not read their answers when the server has stopped otherwise."""


def server(
    app: ASGIApp, host: str, port: int, limits: Limits | None = None, scheduler: Scheduler | None = None
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
        # Of a scheduler's requests all are finished or told by then: what is left are clients who read slowly.
        timeout_graceful_shutdown=bounds.stop_seconds if scheduler is None else min(_SLOW_SECONDS, bounds.stop_seconds),
    )
    return uvicorn.Server(settings) if scheduler is None else DrainingServer(settings, scheduler, bounds.stop_seconds)


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which goes on listening while it finishes what it has: others are told to go elsewhere.

    uvicorn's own stops listening at once, and a request that a load balancer still sends is met by a closed port.

    Args:
        settings: See uvicorn.
        scheduler: What has to be finished.
        seconds: In which; who waits longer is told that the server stops.
    """

    def __init__(self, settings: uvicorn.Config, scheduler: Scheduler, seconds: float) -> None:
        super().__init__(settings)
        self.scheduler, self.seconds = scheduler, seconds
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
