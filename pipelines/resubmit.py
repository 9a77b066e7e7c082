"""Run the last cycle of a schedule again if it failed: Kubeflow tries no program and no lost driver again itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.kubeflow import listed, say
from pipelines.submit import Submission
from pipelines.watch import ENDED, how_it_ended
from selfemo import cycles
from selfemo.config import Config


def resubmit(config: Config, client: Any, form: Path | None, most: int) -> str | None:
    """Start the schedule's last cycle again, if it failed and nobody ended it; id of the run, or None.

    Finished steps return at once. A cycle is what a night's run was scheduled for, and so its name; the runs that this
    starts bear that name, by which they are counted.

    Args:
        config: Of all cycles, as the schedule was made with.
        client: A kfp.Client.
        form: The compiled pipeline; None compiles it from this checkout.
        most: Times that one cycle is started again.
    """
    whole = Submission(config, client, form)
    given = {"experiment_id": whole.experiment, "namespace": whole.namespace}
    schedules = {
        job.recurring_run_id
        for job in listed(client.list_recurring_runs, "recurring_runs", **given)
        if job.display_name == config.run
    }
    runs = listed(client.list_runs, "runs", sort_by="created_at desc", **given)
    night = next((run for run in runs if run.recurring_run_id in schedules), None)
    if night is None:
        say(f"schedule {config.run} has had no run yet")
        return None
    named = cycles.of(config, cycles.SCHEDULED, night.scheduled_at.strftime("%Y-%m-%dT%H:%M:%SZ")).run
    ours = Submission(config, client, form, cycle=named.removeprefix(f"{config.run}-"))
    again = ours.runs()
    last = again[0] if again else night
    if last.state not in ENDED:
        say(f"{named} is active: run {last.run_id}")
        return None
    if (ended := how_it_ended(last)) != "FAILED":
        say(f"{named} is left alone: {ended.lower()}")
        return None
    if len(again) >= most:
        say(f"{named} is left alone: it was started again {len(again)} times, and failed")
        return None
    return ours.run()
