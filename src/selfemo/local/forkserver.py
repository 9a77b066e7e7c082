"""Steps that start at once: a process that has loaded the heavy libraries forks for each of them (defined here).

A step of a local run is ``python3 -m kfp.dsl.executor_main ...`` in a process of its own, and its first six seconds go
into importing torch and transformers. Here they are imported once. A command called ``python3``, which the run takes
for its Python, asks this server for a fork of it, and is the real Python where the server is not ready yet, or is gone.

A step still has a process of its own, with its own environment, directory and output; it is killed with the command
that asked for it, and all are killed with the run. Only on Linux (pidfd), and only without a GPU: CUDA does not outlive
a fork.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from selfemo import fingerprint, logs
from selfemo.config import SECTIONS
from selfemo.errors import Exit
from selfemo.local.forkclient import ENDED, Request, receive
from selfemo.places import temporary

GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvhost-ctrl")
"""What a machine with a GPU has: NVIDIA's, AMD's, Windows' through WSL, a Jetson."""


def possible() -> bool:
    """Whether steps can be forked on this machine."""
    return hasattr(os, "pidfd_open") and not any(os.path.exists(gpu) for gpu in GPUS)


@contextmanager
def python3(modules: Sequence[str]) -> Iterator[Path]:
    """A directory with a ``python3`` that forks off a server, to be taken for Python.

    Args:
        modules: What the server imports before it is ready.
    """
    with temporary("forks") as place:
        client = Path(__file__).with_name("forkclient.py")
        words = [sys.executable, "-IS", str(client), str(place / "socket"), sys.executable]
        (place / "python3").write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (place / "python3").chmod(0o755)
        command = [sys.executable, "-m", "selfemo.local.forkserver", str(place / "socket"), *modules]
        # It ends when its input does: with this process, however that ends.
        server = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            yield place
        finally:
            server.kill()
            server.communicate()


def serve(address: str) -> Request:
    """Fork for each request; returns in the forks alone, with the request of each.

    Args:
        address: Of the socket; it is there once requests are taken.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the ones that wait
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}.new")
        server.listen(64)
        os.rename(f"{address}.new", address)
        here = os.getpid()
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:  # it says nothing: this is its end
                os._exit(Exit.DONE)
            connection, _ = server.accept()
            with connection:
                if os.fork() == 0:
                    server.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    request = receive(connection)
                    child = os.fork()
                    if child == 0:
                        return request
                    request.close()
                    _wait(child, connection, here)


def _wait(child: int, connection: socket.socket, server: int) -> NoReturn:
    """Tell how a step ended; kill it when the one that asked for it is gone, or the server with its run."""
    handle = os.pidfd_open(child)
    watched, ready = [handle, connection.fileno()], list[int]()
    while not ready and os.getppid() == server:
        ready, _, _ = select.select(watched, [], [], 1.0)
    if handle not in ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    with suppress(OSError):  # it is gone
        connection.sendall(ENDED.pack(code))
    os._exit(Exit.DONE)


def main() -> None:
    """Entry point: the address, then the modules."""
    address, *modules = sys.argv[1:]
    logs.configure()  # libraries ask the environment how loud they are
    for name in modules:
        module, _, attribute = name.partition(":")
        with suppress(Exception):  # not installed, or broken: the step that wants it says so
            found = importlib.import_module(module)
            if attribute:  # a lazy module loads it when it is asked for
                getattr(found, attribute)
    for name in SECTIONS:  # every step asks for some, and remembers the sources that it has read
        fingerprint.of_step(name)
    gc.freeze()  # or the first collection of each fork would copy the pages of everything
    ending = _Ending()
    request = serve(address)
    request.become()
    with ending:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


class _Ending:
    """Ends a fork when all that it asked for at its end is done.

    Python would take apart every module that is loaded: four tenths of a second of work on pages that are the server's.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        atexit.register(self._leave)  # the first to be registered comes last

    def __enter__(self) -> None:
        self._code = Exit.DONE

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, SystemExit):
            self._code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            self._code = 1 if isinstance(error, Exception) else None  # Python ends itself by the signal of Ctrl-C

    def _leave(self) -> None:
        if self._code is not None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # closed, or nobody reads it
                    stream.flush()
            os._exit(self._code & 0xFF)


if __name__ == "__main__":
    main()
