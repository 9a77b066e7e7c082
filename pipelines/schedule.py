"""Schedules of Kubeflow Pipelines: made, ended, and their last night run again where it failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pipelines.cron import checked
from pipelines.kubeflow import listed, named, say
from pipelines.nodes import workflow
from pipelines.submit import Submission
from pipelines.watch import active, how_it_ended
from selfemo import cycles

EPOCH = "scheduledworkflows.kubeflow.org/workflowEpoch"
ISO = "%Y-%m-%dT%H:%M:%SZ"


def recurring(ours: Submission, cron: str) -> str:
    """Id of the schedule of a submission's name; those that differ are ended. Each of its runs is a cycle of its own.

    One that a person has paused stays paused, and so does what replaces it. The new one is made before the old ones
    go: cut off in between, there are two, and the same again ends right.

    Args:
        ours: What each run submits.
        cron: When, as Kubeflow takes it.

    Raises:
        UserError: If it is no schedule, or has no field for seconds, as Kubeflow's have.
    """
    checked(cron)
    name, client = ours.config.run, ours.client
    parameters = {**ours.parameters, "cycle": cycles.SCHEDULED}
    pipeline, version, label = ours.version

    def same(job: Any) -> bool:
        given = job.pipeline_version_reference.pipeline_version_id, job.trigger.cron_schedule.cron
        return bool((*given, job.runtime_config.parameters or {}) == (version, cron, parameters))

    jobs = _schedules(ours)
    paused = bool(jobs) and all(job.status == "DISABLED" for job in jobs)
    kept = next((job for job in jobs if same(job) and (paused or job.status != "DISABLED")), None)
    if kept:
        found = str(kept.recurring_run_id)
        say(f"schedule {name} is {'paused' if paused else 'already there'}")
    else:
        made = client.create_recurring_run(
            ours.experiment,
            name,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=parameters,
            pipeline_id=pipeline,
            version_id=version,
            enable_caching=False,
            service_account=ours.config.cluster.service_account,
        )
        found = str(made.recurring_run_id)
        if paused:
            client.disable_recurring_run(found)
        say(f"schedule {name} is made{', and paused as it was' if paused else ''}: {cron}, version {label}")
    for job in jobs:
        if job.recurring_run_id != found:
            _retire(ours, job)
    return found


def again(whole: Submission, most: int) -> str | None:
    """Start the schedule's last cycle again, if it failed and nobody ended it; id of the run, or None.

    Kubeflow starts no step anew whose program failed, nor a driver's pod that was lost. Finished steps return at once.
    A cycle is named by the time of its night's run; the runs that this starts bear that name, by which they are
    counted. A night of another configuration or another form is left alone: its steps would not be
    found again, and one run would have two configurations.

    Args:
        whole: What the schedule submits, without a cycle.
        most: Times that one cycle is started again.
    """
    config, client = whole.config, whole.client
    schedules = {job.recurring_run_id for job in _schedules(whole)}
    runs = listed(
        client.list_runs,
        "runs",
        experiment_id=whole.experiment,
        namespace=whole.namespace,
        sort_by="created_at desc",
    )
    night = next((run for run in runs if run.recurring_run_id in schedules), None)
    if night is None:
        say(f"schedule {config.run} has had no run yet")
        return None
    cycle = cycles.of(config, cycles.SCHEDULED, _time_of(client, night)).run
    ours = Submission(config, client, whole.form, whole.images, cycle.removeprefix(f"{config.run}-"))
    tried = ours.runs()
    last = tried[0] if tried else night
    if active(last):
        say(f"{cycle} is active: run {last.run_id}")
    elif (ended := how_it_ended(last, workflow(client, last.run_id))) != "FAILED":
        say(f"{cycle} is left alone: {ended.lower()}")
    elif len(tried) >= most:
        say(f"{cycle} is left alone: it was started again {len(tried)} times, and failed")
    elif (night.runtime_config.parameters or {}).get("config") != ours.parameters["config"]:
        say(f"{cycle} is left alone: the configuration is another one now")
    elif night.pipeline_version_reference.pipeline_version_id != ours.version[1]:
        say(f"{cycle} is left alone: the pipeline is another one now")
    else:
        return ours.run()
    return None


def _time_of(client: Any, night: Any) -> str:
    """The time that a run of a schedule was told as its scheduled time, as its cycle is named by it.

    Kubeflow's driver takes it from a label of the Workflow, which the account of the steps has to be allowed to read;
    where there is none, the time at which the Workflow was made (``resolvePipelineJobScheduleTimeUTCFromWorkflow``).
    """
    told = (workflow(client, night.run_id) or {}).get("metadata") or {}
    if epoch := str((told.get("labels") or {}).get(EPOCH, "")):
        return datetime.fromtimestamp(int(epoch), UTC).strftime(ISO)
    return str(told.get("creationTimestamp") or night.created_at.strftime(ISO))


def _schedules(ours: Submission) -> list[Any]:
    found = listed(
        ours.client.list_recurring_runs,
        "recurring_runs",
        experiment_id=ours.experiment,
        namespace=ours.namespace,
        filter=named(ours.config.run),
    )
    return [job for job in found if job.display_name == ours.config.run]


def _retire(ours: Submission, job: Any) -> None:
    """End a schedule; it is deleted when none of its runs is active any more.

    Kubeflow makes a schedule the owner of its runs' Workflows: with it, a night that goes on would be gone.
    """
    runs = listed(ours.client.list_runs, "runs", experiment_id=ours.experiment, namespace=ours.namespace)
    going = [run for run in runs if run.recurring_run_id == job.recurring_run_id and active(run)]
    if not going:
        ours.client.delete_recurring_run(job.recurring_run_id)
        say(f"schedule {ours.config.run} was another one; it is replaced")
    elif job.status != "DISABLED":
        ours.client.disable_recurring_run(job.recurring_run_id)
        say(f"schedule {ours.config.run} was another one; it is ended, and its run {going[0].run_id} goes on")
