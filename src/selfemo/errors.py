"""The one kind of error that is the user's to mend, and the codes that every command ends with."""

from __future__ import annotations

from enum import IntEnum
from typing import Self

from selfemo.shown import printable, shown


class Exit(IntEnum):
    """What a process ends with; docs/cli.md has the same table. A code never changes its meaning.

    Attributes:
        meaning: A sentence for whoever reads the code.
    """

    meaning: str

    def __new__(cls, code: int, meaning: str = "") -> Self:
        """A code with its meaning."""
        made = int.__new__(cls, code)
        made._value_, made.meaning = code, meaning
        return made

    DONE = 0, "What was asked is done, and what was asked about is in order."
    NO = 1, "It ended as it should, and the answer is no: a run failed, something drifted or was stopped."
    BAD_INPUT = 2, "Input, configuration or surroundings have to be mended first; the message says how."
    DEFECT = 70, "A defect of selfemo; the message names a file to send with the report."
    INTERRUPTED = 130, "Ctrl-C, or a question answered with no; the same command goes on from there."
    NO_READER = 141, "Whoever read the output has gone, such as `head`."


class UserError(Exception):
    """Input, configuration or environment that the user can put right.

    The command line prints it without a traceback and exits with code 2. The message names
    the place (file, line, column or setting) and the fix.

    Args:
        message: What is wrong.
        where: The place, such as ``dev.csv:14: column Emotion`` or ``configs/demo.yaml:7``.
        fix: What to do about it.
    """

    def __init__(self, message: str, *, where: str | None = None, fix: str | None = None) -> None:
        # Whoever shows it need not know who wrote what is in it.
        self.message, self.where = shown(message), None if where is None else printable(where)
        self.fix = None if fix is None else shown(fix)
        text = f"{self.where}: {self.message}" if self.where else self.message
        super().__init__(f"{text}\n  fix: {self.fix}" if self.fix else text)


class Unread(UserError):
    """A place that cannot be read from here: it is away, or refuses."""


class GateClosed(UserError):
    """A promotion that the evidence does not support."""


class CorruptArtifact(UserError):
    """Bytes that differ from what their manifest or their schema says."""
