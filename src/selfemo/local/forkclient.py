"""The ``python3`` of a local run: asks a server for a fork that has its libraries loaded, or is the real Python.

Run as a file, by a Python without site packages, so that it is there in hundredths of a second: only the standard
library, and nothing of ours. Both sides of what goes over the socket are here.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass

_LENGTH = struct.Struct("!I")
ENDED = struct.Struct("!h")
"""The answer: an exit code, or the number of the signal that ended the process, below zero."""


@dataclass
class Request:
    """A command ``python3 -m MODULE ARGUMENTS``, and what belongs to its process.

    Attributes:
        arguments: The module, then its arguments.
        environment: All variables.
        directory: The current one.
        descriptors: Open files for standard input, output and error.
    """

    arguments: list[str]
    environment: dict[str, str]
    directory: str
    descriptors: tuple[int, ...]

    def become(self) -> None:
        """Make this process the one that was asked for."""
        for standard, descriptor in enumerate(self.descriptors):
            os.dup2(descriptor, standard)
        self.close()
        os.chdir(self.directory)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv[:] = self.arguments

    def close(self) -> None:
        """Leave the files to others."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def send(connection: socket.socket, arguments: list[str]) -> None:
    """Ask for a process like this one."""
    data = json.dumps([arguments, dict(os.environ), os.getcwd()]).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(data))], [0, 1, 2])
    connection.sendall(data)


def receive(connection: socket.socket) -> Request:
    """What :func:`send` sent."""
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, 3)
    (length,) = _LENGTH.unpack(head)
    data = bytearray()
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError("a request was broken off")
        data += part
    arguments, environment, directory = json.loads(data)
    return Request(arguments, environment, directory, tuple(descriptors))


def main(address: str, python: str, arguments: list[str]) -> int:
    """Exit code of the command; does not return where a signal ended it, or where it becomes the real Python."""
    if arguments[:1] == ["-m"]:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(address)
        except OSError:
            connection.close()  # not ready yet, or gone
        else:
            send(connection, arguments[1:])
            answer = connection.recv(ENDED.size)
            code = ENDED.unpack(answer)[0] if len(answer) == ENDED.size else 1
            if code < 0:  # a signal ended it: so it ends this one, whose parent may look
                with suppress(OSError):  # SIGKILL is never handled
                    signal.signal(-code, signal.SIG_DFL)
                os.kill(os.getpid(), -code)
            return code
    os.execv(python, [python, *arguments])  # noqa: S606  # the arguments are KFP's own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
