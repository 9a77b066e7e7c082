"""One thread for the engine, which works for one request at a time, and a bounded queue before it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.types import Receive

from selfemo.serving.limits import CLIENT_LEFT, Limits

T = TypeVar("T")


class EngineQueue:
    """Runs the work of requests one by one, in the order in which they came.

    The event loop waits for nothing, so health is always answered. The thread is the only one that the engine sees, so
    torch keeps one pool of threads; it does not keep the process from ending. (A ThreadPoolExecutor's would: the
    interpreter joins it, however long its work takes.)

    Args:
        limits: How many may wait.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._held, self._lock = 0, threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="engine", daemon=True).start()

    async def run(self, work: Callable[[], T], receive: Receive) -> T:
        """The result of a piece of work; that of a client who leaves is not begun, and its place is free at once.

        Args:
            work: Runs in the engine's thread. Once begun it runs to its end.
            receive: The request's; its body has been read.

        Raises:
            HTTPException: 429 if the queue is full, 503 if the server stops before the answer.
        """
        retry = {"retry-after": str(self.limits.retry_seconds)}
        if not self._enter():
            raise HTTPException(429, f"{self.limits.waiting} requests wait already; try again later", retry)
        job: Future[T] = Future()
        job.add_done_callback(lambda _: self._leave())
        self._jobs.put((job, work))
        result, left = asyncio.wrap_future(job), asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((result, left), return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return result.result()
            raise HTTPException(CLIENT_LEFT, "the client has left")
        except asyncio.CancelledError:  # the time that uvicorn gives to requests when it is told to stop is up
            raise HTTPException(503, "the server stops; ask another", retry) from None
        finally:
            result.cancel()  # and with it the job, if it has not begun
            left.cancel()

    @property
    def held(self) -> int:
        """Requests that are worked on or wait."""
        return self._held

    def _enter(self) -> bool:
        with self._lock:
            free = self._held <= self.limits.waiting
            self._held += free
            return free

    def _leave(self) -> None:
        with self._lock:
            self._held -= 1

    def _work(self) -> None:
        while True:
            job, work = self._jobs.get()
            if job.set_running_or_notify_cancel():
                try:
                    job.set_result(work())
                except BaseException as error:  # whatever it is, it is the request's
                    job.set_exception(error)
            del job, work  # or they would live until the next request


async def _left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
