"""Create a TrainJob, or adopt the one there is, and wait until it has ended; leave none behind that still runs.

What a cluster does to such a wait, and what this makes of it:

- the job is already there (a retry of this step): it is adopted, unless another spec stands under its name;
- it waits in a queue (Suspended): so do we, and that time is not counted;
- it ends between two looks, or before the first: its conditions say so, running is never waited for;
- the API fails a few times in a row: we look again; the job is gone: that is an error;
- it fails: its reason is raised; the time is up, or this process is told to stop: the job is deleted, before anything
  else is done: Argo kills a container about a second after it has told it to stop.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from selfemo.cluster.joblog import following
from selfemo.cluster.trainjob import GROUP, HASH, PLURAL, VERSION, Json, ending, suspended
from selfemo.errors import UserError

log = logging.getLogger(__name__)

FAULTS = 20
"""Looks in a row that may fail."""
UNFIT = (400, 403, 422)
"""Answers that do not change by asking again."""


@dataclass
class Launcher:
    """Runs TrainJobs through the API of a cluster.

    Attributes:
        api: Client of the cluster.
        poll: Seconds between two looks.
        clock: Seconds, of which the job's time is counted.
        sleep: Lets so many of them pass.
    """

    api: client.ApiClient
    poll: float = 5.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self.jobs = client.CustomObjectsApi(self.api)

    def run(self, job: Json, minutes: float) -> None:
        """Run a job to its end.

        Args:
            job: Of :func:`selfemo.cluster.trainjob.manifest`.
            minutes: Longest time it may run, queueing not counted.

        Raises:
            UserError: If it failed, vanished, was refused, took too long, or another spec stands under its name.
        """
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        with _stoppable():
            try:
                self._create(job)
                with following(self.api, name, namespace, self.poll):
                    try:
                        end = self._wait(name, namespace, minutes * 60)
                    except BaseException:
                        self._delete(name, namespace)  # at once: the log may hang, and this process be killed meanwhile
                        raise
            except KeyboardInterrupt:
                self._delete_if_ours(job)  # it may have been made, or adopted, in the moment in which we are stopped
                raise
        if end["type"] == "Failed":
            raise UserError(
                f"training failed: {end.get('reason') or 'no reason given'}: {end.get('message') or 'no message'}",
                where=f"TrainJob {namespace}/{name}",
                fix=f"its log is above, or: kubectl -n {namespace} logs -l jobset.sigs.k8s.io/jobset-name={name}",
            )

    def _create(self, job: Json) -> None:
        """Create it, or adopt the one that is there."""
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        faults = 0
        while True:
            try:
                if self._created(job) or self._adopted(job):
                    return
                faults = 0
            except ApiException as error:
                if error.status == 404:
                    raise UserError(
                        "the cluster knows no TrainJobs, or has no such namespace",
                        where=f"namespace {namespace}",
                        fix="install Kubeflow Trainer 2.2 or later, or set cluster.trainer: pod",
                    ) from None
                elif error.status in UNFIT:
                    raise UserError(
                        f"the cluster refused the TrainJob ({error.status} {error.reason}): {_message(error)}",
                        where=f"TrainJob {namespace}/{name}",
                        fix="mend the cluster section or the service account's role, and give the same command",
                    ) from None
                else:
                    faults = self._fault(faults, error, name)
            except HTTPError as error:
                faults = self._fault(faults, error, name)
            self.sleep(self.poll)

    def _created(self, job: Json) -> bool:
        """Whether there was none of this name, and now there is."""
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        try:
            self.jobs.create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, job)
        except ApiException as error:
            if error.status == 409:
                return False
            raise
        log.info("TrainJob %s is created", name)
        return True

    def _adopted(self, job: Json) -> bool:
        """Whether the job under this name can be waited for; if not, it is gone or going, and is created again."""
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        found = self._found(name, namespace)
        if found is None:
            return False
        metadata = found["metadata"]
        if metadata.get("deletionTimestamp"):
            log.info("TrainJob %s is being deleted; a new one is made when it is gone", name)
            return False
        theirs, ours = (m.get("annotations", {}).get(HASH) for m in (metadata, job["metadata"]))
        if theirs != ours:
            raise UserError(
                f"a TrainJob of this name was made from another spec ({theirs}, not {ours})",
                where=f"TrainJob {namespace}/{name}",
                fix=f"kubectl -n {namespace} delete trainjob {name}",
            )
        end = ending(found)
        if end is not None and end["type"] == "Failed":
            log.info("TrainJob %s failed before (%s); it is made again", name, end.get("reason"))
            self._delete(name, namespace)
            return False
        self._own(metadata, job["metadata"])
        log.info("TrainJob %s is already there: adopted", name)
        return True

    def _found(self, name: str, namespace: str) -> Json | None:
        """The job, or None if there is none."""
        try:
            found: Json = self.jobs.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    def _own(self, theirs: Json, ours: Json) -> None:
        """Make our pod an owner of an adopted job.

        The pods that were owners before stay in the list: Kubernetes removes a job when all of its owners are gone,
        and strikes out by itself those that are.

        Args:
            theirs: Metadata of the job as it is there.
            ours: Metadata as we would have made it.
        """
        owners = theirs.get("ownerReferences") or []
        new = [o for o in ours.get("ownerReferences", ()) if o["uid"] not in {known["uid"] for known in owners}]
        if not new:
            return
        # With the version that was read: if somebody changed it meanwhile, that is a conflict, and we look again.
        change = {"metadata": {"resourceVersion": theirs.get("resourceVersion"), "ownerReferences": [*owners, *new]}}
        self.jobs.patch_namespaced_custom_object(GROUP, VERSION, ours["namespace"], PLURAL, ours["name"], change)

    def _wait(self, name: str, namespace: str, seconds: float) -> Json:
        """Look until the job has ended; the condition that says how."""
        faults, spent, queued = 0, 0.0, False
        last = self.clock()
        while True:
            try:
                found: Json = self.jobs.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
            except ApiException as error:
                if error.status == 404:
                    raise UserError(
                        "the TrainJob is gone: somebody deleted it",
                        where=f"TrainJob {namespace}/{name}",
                        fix="run the step again: training goes on from its last checkpoint in the store or volume",
                    ) from None
                faults = self._fault(faults, error, name)
            except HTTPError as error:
                faults = self._fault(faults, error, name)
            else:
                faults = 0
                if (end := ending(found)) is not None:
                    return end
                if suspended(found) != queued:
                    queued = not queued
                    log.info("TrainJob %s %s", name, "waits in its queue" if queued else "is admitted")
            now = self.clock()
            spent += 0.0 if queued else now - last
            last = now
            if spent > seconds:
                raise UserError(
                    f"the TrainJob has not ended in {seconds / 60:.0f} minutes",
                    where=f"TrainJob {namespace}/{name}",
                    fix="set cluster.pods.train.minutes higher",
                )
            self.sleep(self.poll)

    def _fault(self, faults: int, error: Exception, name: str) -> int:
        """Count a failed call; too many in a row are an error."""
        said = f"{error.status} {error.reason}" if isinstance(error, ApiException) else type(error).__name__
        if faults + 1 >= FAULTS:
            raise UserError(
                f"the Kubernetes API failed {FAULTS} times in a row: {said}",
                where=f"TrainJob {name}",
                fix="see to the API server, and run the step again",
            ) from None
        log.warning("the Kubernetes API failed (%s); looking again", said)
        return faults + 1

    def _delete_if_ours(self, job: Json) -> None:
        """Delete the job under this name, if it is of this spec and neither has ended nor is being deleted."""
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        try:
            found = self._found(name, namespace)
        except (ApiException, HTTPError) as error:
            log.warning("TrainJob %s could not be looked for (%s)", name, type(error).__name__)
            return
        metadata = (found or {}).get("metadata", {})
        same = metadata.get("annotations", {}).get(HASH) == job["metadata"]["annotations"][HASH]
        if found and same and not metadata.get("deletionTimestamp") and ending(found) is None:
            self._delete(name, namespace)

    def _delete(self, name: str, namespace: str) -> None:
        try:
            self.jobs.delete_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, name, propagation_policy="Foreground"
            )
            log.info("TrainJob %s is deleted", name)
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", None) != 404:
                log.warning("TrainJob %s could not be deleted (%s); it ends with this pod", name, type(error).__name__)


def _message(error: ApiException) -> str:
    """What the API server says of it, out of its Status object."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.body or "")[:500]


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGINT end the wait by an interrupt, so that the job is deleted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)  # told again: the job is being deleted already
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
