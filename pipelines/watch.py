"""Follow a run of Kubeflow Pipelines to its end, and show its rounds, steps and shards."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pipelines.kubeflow import say, text
from pipelines.nodes import Json, Node, nodes, workflow
from pipelines.place import STEPS
from selfemo import logs
from selfemo.errors import UserError
from selfemo.logs import printable

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
FAILED = ("Failed", "Error")
"""Argo's words: the program failed; the pod was lost."""
SOON = 60
"""Seconds within which most pods run: nothing is said of one that waits before."""
STARTS = ("PodInitializing", "ContainerCreating", "ErrImage", "ImagePull", "ImageInspect", "CreateContainer")
"""How what is said of a pod begins that has a node and does not run yet."""
GONE = 3600
"""Seconds after which a run that is being terminated has no Workflow any more that could end."""
UNLIKE_ARGO = (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zlib.error)
"""What a Workflow raises that is not as Argo writes it."""
FAULTS = 20
"""Looks in a row that may fail."""
HALF = re.compile(r"\.selfemo-(learn|judge)(?:-(\d+))?\(")
SHARD = re.compile(r"\.iteration-iterations\((\d+):")
PROGRAM = re.compile(r"\.([a-z]+)\(\d+\)\.executor$")
DRIVER = re.compile(r"\.([a-z]+)-driver$")
REPORT = re.compile(r"\.report(?:\(\d+\)\.executor|-driver)$")


def looks(client: Any, run: str, poll: float) -> Iterator[tuple[Any, Json | None]]:
    """A run as Kubeflow has it, and its Workflow, again and again, until it has ended.

    Args:
        client: A kfp.Client.
        run: Id of the run.
        poll: Seconds between two looks.

    Raises:
        UserError: If Kubeflow does not answer for long.
    """
    faults = 0
    while True:
        try:
            found, manifest = client.get_run(run), workflow(client, run)
            faults = 0
        except Exception as error:  # of the client's own libraries, whatever they are: it is looked at again
            faults += 1
            if faults >= FAULTS:
                raise UserError(
                    f"Kubeflow Pipelines failed {FAULTS} times in a row: {type(error).__name__}",
                    where=f"run {run}",
                    fix="give the same command again: it finds the run",
                ) from None
            say(f"Kubeflow Pipelines does not answer ({type(error).__name__}); looking again")
            time.sleep(poll)
            continue
        yield found, manifest
        if found.state in ENDED:
            return
        time.sleep(poll)


def watch(client: Any, run: str, name: str, poll: float) -> str:
    """Follow a run to its end, a line for each step that changes; how it ended.

    Args:
        client: A kfp.Client.
        run: Id of the run.
        name: Of the run, for people.
        poll: Seconds between two looks.

    Raises:
        UserError: If Kubeflow does not answer for long.
    """
    known: set[str] = set()
    namespace = client.get_user_namespace() or "NAMESPACE"
    found, manifest = None, None
    for found, manifest in looks(client, run, poll):
        tasks = (found.run_details and found.run_details.task_details) or []
        try:
            told = list(lines(manifest, namespace)) if manifest else list(plain(tasks))
        except UNLIKE_ARGO:
            told = list(plain(tasks))
        for line in told:
            if line not in known:
                say(line)
            known.add(line)
    return tell_end(client, run, name, found, manifest)


def tell_end(client: Any, run: str, name: str, found: Any, manifest: Json | None) -> str:
    """Say how a run ended, and of one that failed what is to be mended; how it ended.

    Args:
        client: A kfp.Client.
        run: Id of the run.
        name: Of the run, for people.
        found: As Kubeflow has it at its end.
        manifest: Its Workflow.
    """
    detail = f": {printable(found.error.message or '')}" if found.error else ""
    ended = how_it_ended(found, manifest)
    if ended == "FAILED" and found.state == "SUCCEEDED":
        detail = ": its report was not made, so MLflow has it running; a run of the same name makes it, and no more"
    say(f"run {name} has ended: {ended.lower()}{detail}")
    if ended == "FAILED" and manifest and (said := failure(client, run, manifest)):
        say(said)  # the last line: what is to be mended
    return ended


def has_report(manifest: Json) -> bool:
    """Whether the last step was not seen to fail.

    Args:
        manifest: Its Workflow.
    """
    try:
        return not any(node.phase in FAILED for place, node in nodes(manifest).items() if REPORT.search(place))
    except UNLIKE_ARGO:
        return True


def failure(client: Any, run: str, manifest: Json) -> str:
    """What the step that failed said itself, from its pod's log; empty where nobody keeps that.

    Args:
        client: A kfp.Client.
        run: Id of the run.
        manifest: Its Workflow.
    """
    try:
        found = sorted(nodes(manifest).items(), key=lambda item: _order(item[0]))
    except UNLIKE_ARGO:
        return ""
    for place, node in found:
        program = PROGRAM.search(place)
        if node.phase not in FAILED or not program or program[1] not in STEPS:
            continue
        for pod in node.pods:
            if said := logs.failure(log_of(client, run, pod).splitlines()):
                return f"{_label(place, program[1])}: {said}"
    return ""


def log_of(client: Any, run: str, pod: str) -> str:
    """Log of a pod of a run, so far; empty where nobody keeps that.

    Args:
        client: A kfp.Client.
        run: Id of the run.
        pod: Its name.
    """
    return text(client, f"/apis/v1alpha1/runs/{run}/nodes/{quote(pod, safe='')}/log")


def how_it_ended(run: Any, manifest: Json | None) -> str:
    """Kubeflow's word for it, of :data:`ENDED`, but for two things that 2.17.0 says.

    One that was terminated is ``CANCELED``, also where it says ``FAILED`` in the end. One without its report is
    ``FAILED``, though it says ``SUCCEEDED``: nobody has told MLflow that it ended.

    Args:
        run: As Kubeflow has it.
        manifest: Its Workflow, if there is one.
    """
    if run.state == "SUCCEEDED" and manifest and not has_report(manifest):
        return "FAILED"
    terminated = "CANCELING" in [past.state for past in run.state_history or []]
    return "CANCELED" if terminated and run.state == "FAILED" else str(run.state)


def active(run: Any) -> bool:
    """Whether a run goes on. One whose Workflow is gone says for ever that it is being terminated: it does not."""
    if run.state != "CANCELING":
        return run.state not in ENDED
    since = max((past.update_time for past in run.state_history or [] if past.update_time), default=None)
    return since is None or (datetime.now(UTC) - since).total_seconds() < GONE


def lines(manifest: Json, namespace: str) -> Iterator[str]:
    """What there is to show of a run's steps, in the order of the pipeline.

    Args:
        manifest: The run's Workflow.
        namespace: That pods run in.
    """
    for place, node in sorted(nodes(manifest).items(), key=lambda item: _order(item[0])):
        program, driver = PROGRAM.search(place), DRIVER.search(place)
        if program and program[1] in STEPS and (state := _state(node)):
            yield f"{_label(place, program[1])}: {state}{_why(node, namespace)}"
        elif driver and driver[1] in STEPS and node.phase in FAILED:
            yield f"{_label(place, driver[1])}: Kubeflow's driver failed{_why(node, namespace)}"


def plain(tasks: Sequence[Any]) -> Iterator[str]:
    """The same of a backend that shows no Workflow, and names its tasks itself.

    Args:
        tasks: ``run_details.task_details`` of Kubeflow's answer.
    """
    titles = {step.title for step in STEPS.values()} | set(STEPS)
    yield from (f"{t.display_name}: {(t.state or 'PENDING').lower()}" for t in tasks if t.display_name in titles)


def _order(place: str) -> tuple[int, int, int]:
    """Steps as they follow each other: round, step, shard."""
    half, shard = HALF.search(place), SHARD.search(place)
    step = next((m[1] for m in (PROGRAM.search(place), DRIVER.search(place)) if m), "")
    return (
        round_of(place) if half else (99 if step == "report" else -1),
        list(STEPS).index(step) if step in STEPS else 0,
        int(shard[1]) if shard else 0,
    )


def round_of(place: str) -> int:
    """Of a place in a half; the first judge is that of round 0, the first learn that of round 1."""
    half = HALF.search(place)
    return int(half[2] or 1) - (half[1] == "judge") if half else 0


def _label(place: str, step: str) -> str:
    shard = SHARD.search(place)
    round_ = f"round {round_of(place)}: " if HALF.search(place) else ""
    return f"{round_}{STEPS[step].title}{f', shard {int(shard[1]) + 1}' if shard else ''}"


def _state(node: Node) -> str:
    """Its state; empty of a pod about to run. Where that has no node Argo says Running, and Pending of the try."""
    attempt = f" (try {len(node.tries)})" if len(node.tries) > 1 else ""
    if node.phase == "Running" and node.pending:
        if node.since is None or time.time() - node.since < SOON:
            return ""
        said = f": {printable(node.message)[:300]}" if node.message else ""
        placed = node.message.startswith(STARTS)
        return f"{'is being started' if placed else 'waits for a node, or in its queue'}{attempt}{said}"
    took = f" in {node.seconds:.0f} s" if node.seconds is not None and node.phase != "Running" else ""
    return f"{printable(node.phase.lower())}{attempt}{took}"


def _why(node: Node, namespace: str) -> str:
    """Why it failed, and how to see its log: a pod's name ends with its node's number."""
    if node.phase not in FAILED:
        return ""
    said = f": {printable(node.message)[:300]}" if node.message else ""
    number = node.tries[-1].rpartition("-")[2]
    if not re.fullmatch(r"[0-9]+", number):  # whoever writes to the Workflow writes no command for us
        return said
    pods = f"kubectl -n {namespace} get pods -o name | grep {number}"
    return f"{said}\n  see: kubectl -n {namespace} logs -c main $({pods})"
