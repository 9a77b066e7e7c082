"""The report step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False)
def report(config: str, cycle: str, scheduled_at: str, status: dsl.PipelineTaskFinalStatus):
    """Close the run, whatever became of it: one page to look at, and the state of the MLflow run.

    Args:
        config: The run's configuration, as JSON.
        cycle: Name of the cycle, "scheduled" for the time below, or empty.
        scheduled_at: When Kubeflow scheduled the run for, in UTC.
        status: What KFP says of the loop.
    """
    from selfemo import cycles, logs, steps
    from selfemo.config import Config

    with logs.step("report"):
        steps.report(cycles.of(Config.from_json(config), cycle, scheduled_at), status.state, status.error_message or "")
