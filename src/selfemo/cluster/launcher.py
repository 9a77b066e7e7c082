"""Create a TrainJob, or adopt the one there is, and wait until it has ended; leave none behind that still runs.

What a cluster does to such a wait, and what this makes of it:

- the job is already there (a retry of this step): it is adopted, unless another spec stands under its name;
- it waits in a queue (Suspended): so do we, and that time is not counted;
- it ends between two looks, or before the first: its conditions say so, running is never waited for;
- the API fails a few times in a row: we look again; the job is gone: that is an error;
- it fails: its reason is raised; the time is up, or this process is told to stop: the job is deleted.
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

from selfemo.cluster.trainjob import GROUP, HASH, PLURAL, VERSION, Json
from selfemo.errors import UserError
from selfemo.logs import printable

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
            self._create(job)
            over = False
            try:
                with self._logs(name, namespace):
                    end = self._wait(name, namespace, minutes * 60)
                over = True
            finally:
                if not over:
                    self._delete(name, namespace)
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
        try:
            found: Json = self.jobs.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
        except ApiException as error:
            if error.status == 404:
                return False
            raise
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
        log.info("TrainJob %s is already there: adopted", name)
        return True

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
                        fix="run the step again: training goes on from its last checkpoint if there is a volume",
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

    def _delete(self, name: str, namespace: str) -> None:
        try:
            self.jobs.delete_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, name, propagation_policy="Foreground"
            )
            log.info("TrainJob %s is deleted", name)
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", None) != 404:
                log.warning("TrainJob %s could not be deleted (%s); it ends with this pod", name, type(error).__name__)

    @contextmanager
    def _logs(self, name: str, namespace: str) -> Iterator[None]:
        """Show the first node's log meanwhile, if it can be had: a wait does not fail over a log."""
        over = threading.Event()
        reader = threading.Thread(target=self._follow, args=(name, namespace, over), daemon=True, name="logs")
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join(2 * self.poll)  # the last lines; a stream that hangs is left behind

    def _follow(self, name: str, namespace: str, over: threading.Event) -> None:
        pods = client.CoreV1Api(self.api)
        first = f"jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index=0"
        last_look = False
        while not last_look:
            last_look = over.wait(self.poll)  # a job that ended fast has a log all the same
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


def ending(job: Json) -> Json | None:
    """The condition by which a job has ended: Complete, or Failed with its reason; None while it has not."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), None)


def suspended(job: Json) -> bool:
    """Whether it waits in a queue."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Suspended" and c["status"] == "True" for c in conditions)


def _message(error: ApiException) -> str:
    """What the API server says of it, out of its Status object."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.body or "")[:500]


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends the wait as an interrupt does, so that the job is deleted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
