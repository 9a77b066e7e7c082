"""The log of a TrainJob's first node, shown while the job is waited for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from selfemo.logs import printable

log = logging.getLogger(__name__)

LAST_LINES = 10.0
"""Seconds that the end of a log is waited for; a stream that hangs is left behind."""


@contextmanager
def following(api: client.ApiClient, name: str, namespace: str, poll: float) -> Iterator[None]:
    """Show the log meanwhile, if it can be had: a wait does not fail over a log.

    Args:
        api: Client of the cluster.
        name: Of the TrainJob.
        namespace: Of the TrainJob.
        poll: Seconds between two tries to find its pod.
    """
    over = threading.Event()
    reader = threading.Thread(target=_follow, args=(api, name, namespace, poll, over), daemon=True, name="logs")
    reader.start()
    patience = LAST_LINES
    try:
        yield
    except KeyboardInterrupt:
        patience = 0.0  # who stops us waits for no log
        raise
    finally:
        over.set()
        reader.join(patience)


def _follow(api: client.ApiClient, name: str, namespace: str, poll: float, over: threading.Event) -> None:
    pods = client.CoreV1Api(api)
    first = f"jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index=0"
    last_look = False
    while not last_look:
        last_look = over.wait(poll)  # a job that ended fast has a log all the same
        try:
            found = pods.list_namespaced_pod(namespace, label_selector=first).items
            ready = [p for p in found if p.status and p.status.phase in ("Running", "Succeeded", "Failed")]
            if not ready:
                continue
            stream = pods.read_namespaced_pod_log(
                ready[-1].metadata.name, namespace, follow=not last_look, _preload_content=False
            )
            for raw in stream:
                for line in raw.decode(errors="replace").splitlines():
                    log.info("| %s", printable(line))
            return
        except (ApiException, HTTPError, ValueError) as error:
            log.debug("no log of %s: %s", name, error)
