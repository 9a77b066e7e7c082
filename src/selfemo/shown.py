"""Text from elsewhere as it may be shown: in a terminal, a log, a page. Corpora, models, servers and users write parts.

No control characters, which a terminal obeys; no credentials of addresses, which logs and pages hand on; and no more
than a screen or two of one line. And seconds, as people say them.
"""

from __future__ import annotations

import re

JOINERS = "\u200c\u200d"
"""Parts of words in Persian, Hindi and others, and of emoji, though they cannot be seen."""
_MOST = 4000
_USER_INFO = re.compile(r"(?<=://)[^\s/?#'\"<>]+(?=@)")
"""In an address, what stands before the last @ of its host."""


def has_credentials(text: str) -> bool:
    """Whether a text holds an address with credentials: a password, or a token in place of a user's name."""
    return any(_secret(match) for match in _USER_INFO.finditer(text))


def redacted(text: str) -> str:
    """A text whose addresses have lost their credentials."""
    return _USER_INFO.sub(lambda m: "***" if _secret(m) else m[0], text)


def _secret(match: re.Match[str]) -> bool:
    """A user's name alone is one, but for SSH, where it is as public as the host."""
    before = match.string[max(0, match.start() - 6) : match.start()].lower()
    return match[0] != "***" and (":" in match[0] or before != "ssh://")


def printable(line: str) -> str:
    """A line, as it may be shown."""
    return "".join(c if c.isprintable() or c in JOINERS else " " for c in redacted(line.rstrip()[:_MOST]))


def shown(message: object) -> str:
    """A message of one or more lines, as it may be shown."""
    return "\n".join(map(printable, str(message).split("\n")))


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``42 s``, ``3 min 10 s``, ``2 h 05 min``; ``?`` where it is not known."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
