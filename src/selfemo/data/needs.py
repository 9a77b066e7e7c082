"""Libraries that only some commands need: imported when they are used, and asked for by name where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from selfemo.errors import UserError


def needed(module: str, extra: str = "data") -> Any:
    """A module of an extra of this package.

    Raises:
        UserError: If it is not installed; says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"{error.name or module} is not installed", where=module, fix=f"pip install 'selfemo[{extra}]'"
        ) from None
