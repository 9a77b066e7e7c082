"""The report step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False)
def report(config: str, status: dsl.PipelineTaskFinalStatus):
    """Close the run, whatever became of it: one page to look at, and the state of the MLflow run.

    Args:
        config: The run's configuration, as JSON.
        status: What KFP says of the loop.
    """
    from selfemo import logs, steps
    from selfemo.config import Config

    with logs.step("report"):
        steps.report(Config.from_json(config), status.state == "SUCCEEDED", status.error_message or "")
