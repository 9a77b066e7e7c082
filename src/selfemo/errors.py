"""The one kind of error that is the user's to mend."""

from __future__ import annotations

from selfemo.shown import printable, shown


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
