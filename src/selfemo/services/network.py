"""Ports of this machine, and whether a server answers on one."""

from __future__ import annotations

import secrets
import socket
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks no proxy: what is asked is this machine."""


LOWEST, TWIN = 10000, 10000
"""First port that is given to a server, and how far above a port of SeaweedFS its gRPC twin is."""
CLIENTS_FROM = 32768
"""Where the ports begin that Linux gives to clients, unless the machine says otherwise; elsewhere they begin later."""
_CLIENTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Free ports whose gRPC twins (port + 10000) are free too: SeaweedFS opens both.

    None is one that the system gives to a client's connection: that could be taken while the server is starting.
    """
    ports: list[int] = []
    room = max(_clients_from() - LOWEST - TWIN, 1000)  # a machine that leaves servers no ports of their own
    while len(ports) < count:
        port = LOWEST + secrets.randbelow(room)
        if port not in ports and all(_is_free(p) for p in (port, port + TWIN)):
            ports.append(port)
    return ports


def _clients_from() -> int:
    try:
        return int(_CLIENTS.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return CLIENTS_FROM


def free_again(ports: Sequence[int]) -> bool:
    """Whether a server that was there can listen on its ports again; connections to it may still be closing."""
    return all(_is_free(p, SO_REUSEADDR=1) for port in ports for p in (port, port + TWIN))


def _is_free(port: int, **options: int) -> bool:
    with socket.socket() as probe:
        for name, value in options.items():
            probe.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _status_of(url: str) -> int:
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def answers_s3(url: str, bucket: str) -> bool:
    """An anonymous request for a bucket is refused once the server and the bucket are there."""
    return _status_of(f"{url}/{bucket}") in (200, 403)


def answers_mlflow(url: str) -> bool:
    """MLflow says that it is well."""
    return _status_of(f"{url}/health") == 200
