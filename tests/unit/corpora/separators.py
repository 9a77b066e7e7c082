"""Characters at which str.splitlines ends a line, and no corpus does."""

from __future__ import annotations

SEPARATORS = ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\u2028", "\u2029")
