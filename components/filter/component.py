"""The filter step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False)
def filter(
    config: str, rollouts: str, round: int, dataset: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]
) -> str:
    """The data flywheel: what is kept of the rollouts, by smoothed IoU and agreement.

    Args:
        config: The run's configuration, as JSON.
        rollouts: URI of the round's rollouts.
        round: Number of the round.
        dataset: Shown in the user interface.
        metrics: Counts, acceptance and pseudo-label accuracy, shown in the user interface.

    Returns:
        URI of the training samples.
    """
    from selfemo import logs, steps
    from selfemo.config import Config
    from selfemo.report import kubeflow

    with logs.step("filter", round):
        settings = Config.from_json(config)
        done = steps.filter(settings, rollouts, round)
        kubeflow.describe(dataset, settings, done.uri, round)
        kubeflow.scalars(metrics, done.result)
        return done.uri
