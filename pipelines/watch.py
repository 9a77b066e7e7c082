"""Follow a run of Kubeflow Pipelines to its end."""

from __future__ import annotations

import time
from typing import Any

from pipelines.kubeflow import say
from pipelines.place import STEPS
from selfemo.errors import UserError
from selfemo.logs import printable

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
FAULTS = 20
"""Looks in a row that may fail."""


def watch(client: Any, run: str, name: str, poll: float) -> bool:
    """Follow a run to its end, a line for each step that changes; whether it succeeded.

    Args:
        client: A kfp.Client.
        run: Id of the run.
        name: Of the run, for people.
        poll: Seconds between two looks.

    Raises:
        UserError: If Kubeflow does not answer for long.
    """
    titles = {step.title for step in STEPS.values()}
    known: dict[str, str] = {}
    faults = 0
    while True:
        try:
            found = client.get_run(run)
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
        for task in (found.run_details and found.run_details.task_details) or []:
            state = task.state or "PENDING"
            if known.get(task.task_id) != state and task.display_name in titles | set(STEPS):
                say(f"{task.display_name}: {state.lower()}")
            known[task.task_id] = state
        if found.state in ENDED:
            detail = f": {printable(found.error.message or '')}" if found.error else ""
            say(f"run {name} has ended: {found.state.lower()}{detail}")
            return bool(found.state == "SUCCEEDED")
        time.sleep(poll)
