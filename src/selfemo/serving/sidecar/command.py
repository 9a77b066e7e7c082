"""``selfemo collect``: the sidecar, set up as its options say."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
from functools import partial

from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.feedback import Feedback
from selfemo.errors import UserError
from selfemo.serving.command import FLUSHED_WITHIN, HOSTS, LOCAL, Collect, collector_of, key_for, labels_with
from selfemo.serving.server import bound, more_files, server
from selfemo.serving.sidecar.app import sidecar
from selfemo.serving.sidecar.upstream import Upstream

log = logging.getLogger(__name__)


def collect(
    config: Config, upstream: str, place: Feedback, policy: str, host: str, port: int, collect: Collect
) -> None:
    """Stand before a server until interrupted.

    Args:
        config: Sections ``corpora`` and ``store``.
        upstream: Address of the server.
        place: Where conversations and corrections go.
        policy: Name of what is served, whose label spaces count; empty takes those of the configuration.
        host: To listen on.
        port: To listen on.
        collect: What is kept.

    Raises:
        UserError: If it is to listen to others without a key, the port is taken, or an address is none.
    """
    key, behind = key_for(host), Upstream(upstream)
    if (behind.url.host, behind.url.port) in {(name, port) for name in ours(host)}:
        raise UserError("is this server itself", where="--upstream", fix="give the two different ports")
    sockets = bound(host, port)
    taught = Context(config).policies.find(policy).taught if policy else {}
    spaces, labels = labels_with(config, taught)
    more_files()
    collector = collector_of(place, collect)
    made = sidecar(
        behind,
        collector,
        spaces,
        labels,
        key,
        () if key else HOSTS,
        log=lambda line: print(line, flush=True),
    )
    log.info("collecting conversations of %s in %s on http://%s:%d", labels, place.uri, host, port)
    flush = partial(collector.close, FLUSHED_WITHIN)
    server(made.app, host, port, scheduler=made.forward, at_end=flush, between=True).run(sockets)


def ours(host: str) -> set[str]:
    """Names by which a server that listens on an address is reached from here."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            return {host, *LOCAL}
    return {host, *LOCAL} if host in LOCAL else {host}
