"""A process that is made to die, to find the disk full, or to live by another clock; forked, to cost no imports."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

FILE_CALLS = ((os, "replace"), (os, "rename"), (os, "link"), (os, "fsync"), (os, "mkdir"), (shutil, "copyfile"))
"""What changes a disk: a process can be killed, or find it full, at each."""
LEAST_COMPUTED = 0.3
"""Seconds a minute of a process that has not hung; one that waits for a lock or a server takes less."""


@dataclass(frozen=True)
class End:
    """How an attempt ended.

    Attributes:
        outcome: ``done``, ``refused`` (an error of one line), ``failed`` (a traceback), ``killed`` or ``hung``.
        said: What it returned, or the error.
        files: Calls that change the disk, so far.
    """

    outcome: str
    said: str
    files: int = 0


def attempt(
    work: Callable[[], str],
    log: Path,
    *,
    files_until: int | None = None,
    full: bool = False,
    off: float = 0.0,
    started: Callable[[int], object] = lambda pid: None,
    die_after: float | None = None,
    seconds: float = 300.0,
) -> End:
    """Do some work in a process of its own.

    Args:
        work: What; returns something short.
        log: What it prints goes there.
        files_until: Number of the call that changes the disk at which it dies, or finds no room.
        full: No room, instead of death.
        off: Seconds that its clock is off.
        started: Is told the pid before the work begins.
        die_after: Seconds after which it is killed.
        seconds: After which it hangs, unless it computes: others may have the machine. Five times that is the end.
    """
    reading, writing = os.pipe()
    going, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        os.read(going, 1)
        _live(work, log, writing, files_until, full, off)
    os.close(writing)
    os.close(going)
    started(child)
    began = time.monotonic()
    os.write(go, b"1")
    os.close(go)
    hung, until, computed = False, seconds, 0.0
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        past = time.monotonic() - began
        if die_after is not None and past > die_after:
            os.kill(child, signal.SIGKILL)
        elif past > until:
            hung = (busy := _computed(child)) - computed < LEAST_COMPUTED or past > 5 * seconds
            computed, until = busy, until + 60
            if hung:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    if hung:
        return End("hung", f"killed after {seconds:.0f} s")
    return End(*json.loads(told)) if told else End("killed", "")


def _computed(pid: int) -> float:
    """Seconds that a process and those it started have computed."""
    try:
        process = psutil.Process(pid)
        return sum(sum(p.cpu_times()[:2]) for p in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:  # it has ended in this very moment
        return float("inf")


def _live(work: Callable[[], str], log: Path, pipe: int, files_until: int | None, full: bool, off: float) -> None:
    """The child's whole life."""
    from selfemo import logs
    from selfemo.errors import UserError

    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    count = [0]
    _count_files(count, files_until, full)
    if off:
        now, nanoseconds = time.time, time.time_ns
        time.time = lambda: now() + off
        time.time_ns = lambda: nanoseconds() + int(off * 1e9)
    code = 0
    try:
        logs.configure()
        end = ("done", work())
    except UserError as error:
        end = ("refused", str(error))
    except BaseException as error:
        traceback.print_exc()
        known = isinstance(error, OSError) and error.errno == errno.ENOSPC  # the command line makes a line of it
        end = ("refused" if known else "failed", f"{type(error).__name__}: {error}")
        code = 1
    os.write(pipe, json.dumps([end[0], end[1][:2000], count[0]]).encode())
    os._exit(code)


def _count_files(count: list[int], until: int | None, full: bool) -> None:
    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if until is not None and count[0] > until and (full or count[0] == until + 1):
                if not full:
                    os.kill(os.getpid(), signal.SIGKILL)
                if count[0] < until + 4:  # then somebody has made room
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))
            return real(*arguments, **named)

        setattr(module, name, call)

    for module, name in FILE_CALLS:
        counted(module, name)
