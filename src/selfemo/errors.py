"""The one kind of error that is the user's to mend."""

from __future__ import annotations


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
        self.message, self.where, self.fix = message, where, fix
        text = f"{where}: {message}" if where else message
        super().__init__(f"{text}\n  fix: {fix}" if fix else text)


class GateClosed(UserError):
    """A promotion that the evidence does not support."""


class CorruptArtifact(UserError):
    """Bytes that differ from what their manifest or their schema says."""
