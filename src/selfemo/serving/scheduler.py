"""The engine's thread: takes requests between two steps, and hands what came of each step to those who wait for it."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Receive

from selfemo.policy.stepping import Broken, Event, LikelihoodAsk, SampleAsk, Stepper
from selfemo.serving.limits import CLIENT_LEFT, Limits

log = logging.getLogger(__name__)

BROKEN = "the engine failed; its log says why"


class Failed(Exception):
    """Work ended without an answer; holds what the client is told."""

    def __init__(self, refusal: HTTPException) -> None:
        super().__init__(str(refusal.detail))
        self.refusal = refusal


class Work:
    """A request of the engine, seen from the event loop that waits for it.

    Args:
        scheduler: Whose it is.
    """

    ask: SampleAsk | LikelihoodAsk | None = None
    """What is asked; None until it is begun."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.loop = asyncio.get_running_loop()
        self.open = True
        self._came: asyncio.Queue[list[Event] | BaseException] = asyncio.Queue()

    def begin(self, ask: SampleAsk | LikelihoodAsk) -> None:
        """Have something worked on."""
        self.ask = ask
        self.scheduler.tell(("add", self))

    def put(self, came: list[Event] | BaseException) -> None:
        """Hand over events, or why there are no more; in the loop's thread."""
        self._came.put_nowait(came)

    async def events(self) -> AsyncIterator[list[Event]]:
        """What comes, in portions; goes on until :meth:`close`.

        Raises:
            Failed: If no more will come.
        """
        while self.open:
            came = await self._came.get()
            if isinstance(came, BaseException):
                raise came
            if any(isinstance(event, Broken) for event in came):
                raise Failed(HTTPException(500, BROKEN))
            yield came

    def stop(self, index: int) -> None:
        """One completion is wanted no longer."""
        self.scheduler.tell(("cancel", self.ask, index))

    def close(self) -> None:
        """Nothing more is wanted; the place is free at once."""
        if self.open:
            self.open = False
            self.scheduler.closed(self)

    async def unless_left(self, wanted: Any, receive: Receive) -> Any:
        """The result of a coroutine that uses this work, unless the client leaves or the server stops before.

        Args:
            wanted: Coroutine.
            receive: The request's; its body has been read.

        Raises:
            HTTPException: If there is no answer.
        """
        result, left = asyncio.ensure_future(wanted), asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((result, left), return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return result.result()
            raise HTTPException(CLIENT_LEFT, "the client has left")
        except Failed as failed:
            raise failed.refusal from None
        except asyncio.CancelledError:  # the time that uvicorn gives to requests when it is told to stop is up
            raise self.scheduler.stopping() from None
        finally:
            result.cancel()
            left.cancel()
            self.close()


class Scheduler:
    """Runs a stepper in a thread of its own, the only one that the engine sees, so torch keeps one pool of threads.

    The event loop waits for nothing, so health is always answered; the thread does not keep the process from ending.

    Args:
        stepper: What works.
        limits: How many may be worked on, and how many may wait.
        stepped: Told after each step on how many requests it worked.
    """

    def __init__(self, stepper: Stepper, limits: Limits, stepped: Callable[[int], None] = lambda _: None) -> None:
        self.stepper, self.limits, self._stepped = stepper, limits, stepped
        self.draining = False
        self._open: set[Work] = set()
        self._lock = threading.Lock()
        self._told: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    @property
    def held(self) -> int:
        """Requests that are worked on or wait."""
        return len(self._open)

    @property
    def waiting(self) -> int:
        """Those that wait."""
        return max(0, self.held - self.stepper.figures.rows)

    def place(self) -> Work:
        """A place for a request; called in the event loop.

        Raises:
            HTTPException: 429 if the queue is full, 503 if the server stops.
        """
        if self.draining:
            raise self.stopping()
        if self.held >= self.limits.together + self.limits.waiting:
            retry = {"retry-after": str(self.limits.retry_seconds)}
            raise HTTPException(429, f"{self.limits.waiting} requests wait already; try again later", retry)
        work = Work(self)
        with self._lock:
            self._open.add(work)
        return work

    def stopping(self) -> HTTPException:
        """What is said to those who are not answered because the server stops."""
        retry = {"retry-after": str(self.limits.retry_seconds)}
        return HTTPException(503, "the server stops; ask another", retry)

    def drain(self) -> None:
        """Take nothing new; what is there is finished."""
        self.draining = True

    def give_up(self) -> None:
        """Tell all who wait that the server stops; safe from any thread."""
        self._fail(Failed(self.stopping()))

    def closed(self, work: Work) -> None:
        """A request is done, or wanted no longer."""
        with self._lock:
            self._open.discard(work)
        if work.ask is not None:
            self.tell(("cancel", work.ask, None))

    def tell(self, message: tuple[Any, ...]) -> None:
        """Leave a message for the thread, which reads it before its next step."""
        self._told.put(message)

    def _run(self) -> None:
        works: dict[Any, Work] = {}
        while True:
            self._read(works)
            try:
                events = self.stepper.step()
            except Exception:
                log.exception("the engine failed; the requests it worked on are told")
                self.stepper.reset()
                works.clear()
                self._fail(Failed(HTTPException(500, BROKEN)))
                continue
            self._stepped(self.stepper.figures.rows)
            by_work: defaultdict[Work, list[Event]] = defaultdict(list)
            for event in events:
                if (work := works.get(event.ask)) is not None:
                    by_work[work].append(event)
            self._deliver(by_work)

    def _read(self, works: dict[Any, Work]) -> None:
        """Take what has been told; wait for it if there is nothing to do."""
        while True:
            idle = self.stepper.idle()
            if idle:
                self.stepper.figures.rows = 0
            try:
                what, *about = self._told.get(block=idle)
            except queue.Empty:
                return
            if what == "add":
                (work,) = about
                if work.open:
                    works[work.ask] = work
                    self.stepper.add(work.ask)
            else:
                ask, index = about
                self.stepper.cancel(ask, index)
                if index is None:
                    works.pop(ask, None)

    def _fail(self, why: Failed) -> None:
        with self._lock:
            works = list(self._open)
        for work in works:
            _soon(work.loop, work.put, why)

    def _deliver(self, by_work: dict[Work, list[Event]]) -> None:
        """One call for each loop: a loop is woken once a step, not once a request."""
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[Work, list[Event]]]] = defaultdict(list)
        for work, events in by_work.items():
            by_loop[work.loop].append((work, events))
        for loop, pairs in by_loop.items():
            _soon(loop, _put_all, pairs)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:  # the loop has ended, and with it who waited
        log.debug("nobody waits any longer")


def _put_all(pairs: list[tuple[Work, list[Event]]]) -> None:
    for work, events in pairs:
        work.put(events)


async def _left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
