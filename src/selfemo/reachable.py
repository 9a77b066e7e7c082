"""Whether a server answers at all: asked once before a command relies on it, so that a dead one is said at once.

What works for hours waits longer for a server that is away meanwhile (``registry.mlflow_client``, ``store.s3``).
"""

from __future__ import annotations

import os
import time

from selfemo.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SECONDS, REFUSED, REQUEST = 20.0, 4.0, 8.0
"""How long a server that does not answer is waited for, one whose machine refuses, and one request."""
PAUSE = 1.0
AWAY = (502, 503, 504)
"""What stands in front of a server says so when there is none behind it."""


def spare_loopback() -> None:
    """Have no program of this process or its children ask a proxy for this machine's own addresses."""
    given = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    known = list(dict.fromkeys(word.strip() for text in given for word in text.split(",") if word.strip()))
    if "*" in known:
        return
    for name in ("no_proxy", "NO_PROXY"):  # programs read one or the other, and urllib the first alone
        os.environ[name] = ",".join([*known, *(host for host in LOOPBACK if host not in known)])


def answers(url: str, where: str, fix: str) -> None:
    """Return as soon as a server says anything at all.

    Args:
        url: Of the server.
        where: The setting that names it, for the error.
        fix: What to do if it does not answer.

    Raises:
        UserError: If it does not for some twenty seconds, or is refused by its machine for four.
    """
    began = time.monotonic()
    while True:
        refused, why = silence(url)
        if not why:
            return
        if time.monotonic() - began + PAUSE > (REFUSED if refused else SECONDS - REQUEST):
            raise UserError(f"{url} does not answer: {why}", where=where, fix=fix)
        time.sleep(PAUSE)


def silence(url: str) -> tuple[bool, str]:
    """Ask a server once: whether its machine refuses, and why nothing came; empty if anything did."""
    import http.client
    import socket
    import ssl
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=REQUEST):
            return False, ""
    except urllib.error.HTTPError as error:
        return False, f"{error.code} {error.reason}" if error.code in AWAY else ""
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLError):
            return False, ""  # it does: its own client says what it thinks of the certificate
        nothing = isinstance(reason, (ConnectionRefusedError, socket.gaierror))  # and not a server that is slow
        return nothing, str(getattr(reason, "strerror", None) or reason)
    except (http.client.HTTPException, ValueError):
        return False, ""  # not HTTP, or not as urllib likes it: its own client says it better
    except OSError as error:
        return False, str(error.strerror or error)
