"""Git's own commands, and those of the configuration: run without a shell, bounded, their errors in one line."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from selfemo.errors import UserError
from selfemo.logs import printable

SECONDS = 300
"""For each command: a server that hangs must not hang a promotion."""


def git(place: Path, *arguments: str) -> str:
    """Output of a command of Git in a directory.

    Raises:
        UserError: If it fails.
    """
    return run(place, ["git", *arguments]).strip()


def attempt(place: Path, *arguments: str) -> str | None:
    """Output of a command of Git, or None if it fails."""
    done = call(place, ["git", *arguments])
    return str(done.stdout) if done.returncode == 0 else None


def run(place: Path, command: list[str]) -> str:
    """Output of any command in a directory.

    Raises:
        UserError: If it fails; with what it said.
    """
    done = call(place, command)
    if done.returncode:
        raise failed(command, done)
    return str(done.stdout)


def call(place: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """A command that ran, however it ended.

    Raises:
        UserError: If there is no such program, or it does not end.
    """
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        return subprocess.run(
            command, cwd=place, env=env, capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS
        )
    except (FileNotFoundError, PermissionError):
        raise UserError(f"no program {command[0]!r}", where="gitops", fix="install it") from None
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{command[0]} did not end in {SECONDS} s", where="gitops", fix="see whether its server answers"
        ) from None


def failed(command: list[str], done: subprocess.CompletedProcess[str]) -> UserError:
    """The error that says what a command said."""
    said = printable(str(done.stderr or done.stdout).strip())[:1000]
    return UserError(
        f"{shlex.join(command[:3])}... failed: {said}", where="gitops", fix="mend it, then: selfemo sync-registry"
    )
