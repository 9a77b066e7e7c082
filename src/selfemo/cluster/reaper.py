"""Delete TrainJobs that nobody waits for any more.

A launcher that is told to stop deletes its TrainJob itself. One that is killed hard (SIGKILL, a lost node) cannot: the
TrainJob would hold its accelerators until the pod objects that own it are removed, which Argo does an hour later. Here
each running TrainJob of ours is held against the pods that own it. It may be run at any time, during any run: a
TrainJob with an owner that lives, or that was adopted a moment ago, is never deleted.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from selfemo.cluster.trainjob import GROUP, PLURAL, VERSION, Json, ending
from selfemo.errors import UserError

log = logging.getLogger(__name__)

GRACE = timedelta(minutes=5)
"""For so long after a TrainJob was made, or its owner has ended, a retry of the step may still adopt it."""
OURS = "app.kubernetes.io/name=selfemo"
"""Label of the TrainJobs that this project makes."""


def reap(api: client.ApiClient, namespace: str, now: datetime | None = None) -> dict[str, str]:
    """Delete the TrainJobs of a namespace that have not ended and whose owners are all gone or ended.

    Args:
        api: Client of the cluster.
        namespace: Where they are.
        now: The time; for tests.

    Returns:
        Why each was deleted, by name.

    Raises:
        UserError: If the API does not answer, or forbids it.
    """
    jobs, pods = client.CustomObjectsApi(api), client.CoreV1Api(api)
    now = now or datetime.now(UTC)
    deleted = {}
    try:
        found = jobs.list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, label_selector=OURS)
        for job in found["items"]:
            name = job["metadata"]["name"]
            why = _abandoned(pods, job, namespace, now)
            if why and _deleted(jobs, job, namespace):
                deleted[name] = why
    except ApiException as error:
        raise UserError(
            f"the Kubernetes API says {error.status} {error.reason}",
            where=f"TrainJobs of namespace {namespace}",
            fix="the account needs: trainjobs list and delete, pods get; and Kubeflow Trainer must be installed",
        ) from None
    except HTTPError as error:
        raise UserError(
            f"the Kubernetes API does not answer: {type(error).__name__}",
            where=f"TrainJobs of namespace {namespace}",
            fix="run it again later",
        ) from None
    return deleted


def _abandoned(pods: client.CoreV1Api, job: Json, namespace: str, now: datetime) -> str:
    """Why nobody waits for a job; empty if somebody does or may, or if it has ended or is being deleted.

    A job without an owner was made outside of a pod, from somebody's own machine: whether that one still waits cannot
    be seen from here.
    """
    metadata = job["metadata"]
    owners = [o for o in metadata.get("ownerReferences") or () if o["kind"] == "Pod"]
    made = datetime.fromisoformat(metadata["creationTimestamp"])
    if not owners or ending(job) or metadata.get("deletionTimestamp") or now - made < GRACE:
        return ""
    ends = [_end(pods, owner, namespace, now) for owner in owners]
    return ", ".join(ends) if all(ends) else ""


def _end(pods: client.CoreV1Api, owner: Json, namespace: str, now: datetime) -> str:
    """How a pod that owns a job has ended; empty if it has not, or only a moment ago."""
    name = owner["name"]
    try:
        pod = pods.read_namespaced_pod(name, namespace)
    except ApiException as error:
        if error.status == 404:
            return f"pod {name} is gone"
        raise
    if pod.metadata.uid != owner["uid"]:
        return f"pod {name} is another one now"
    ended = _ended_at(pod)
    if pod.status.phase not in ("Succeeded", "Failed") or (ended and now - ended < GRACE):
        return ""
    return f"pod {name} has ended ({pod.status.phase})"


def _ended_at(pod: Any) -> datetime | None:
    """When the last container of a pod ended; None if nothing is said of that, as of a pod on a lost node."""
    states = [status.state.terminated for status in pod.status.container_statuses or () if status.state]
    times = [state.finished_at for state in states if state and state.finished_at]
    return max(times, default=None)


def _deleted(jobs: client.CustomObjectsApi, job: Json, namespace: str) -> bool:
    """Delete a job as it was seen: if it was changed since, which an adoption does, it is left for the next time."""
    metadata = job["metadata"]
    seen = client.V1Preconditions(uid=metadata.get("uid"), resource_version=metadata.get("resourceVersion"))
    options = client.V1DeleteOptions(preconditions=seen, propagation_policy="Foreground")
    try:
        jobs.delete_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, metadata["name"], body=options)
    except ApiException as error:
        if error.status in (404, 409):
            log.info("TrainJob %s has changed meanwhile, or is gone; it is left", metadata["name"])
            return False
        raise
    return True
