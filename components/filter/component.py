"""The filter step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False)
def filter(
    config: str,
    shards: list[str],
    policy: str,
    prepared: str,
    round: int,
    rollouts: dsl.Output[dsl.Dataset],
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """The data flywheel: what is kept of the rollouts of all shards, by smoothed IoU and agreement.

    Args:
        config: The run's configuration, as JSON.
        shards: URIs of the shards' rollouts.
        policy: URI of the policy that played.
        prepared: URI of the prepared data.
        round: Number of the round.
        rollouts: Of all shards, the same for any number of them but for last digits; shown in the user interface.
        dataset: The training samples, shown in the user interface.
        metrics: Counts, acceptance and pseudo-label accuracy, shown in the user interface.

    Returns:
        URI of the training samples.
    """
    from selfemo import logs, steps
    from selfemo.config import Config
    from selfemo.report import kubeflow

    with logs.step("filter", round):
        settings = Config.from_json(config)
        gathered = steps.gather(settings, shards, policy, prepared, round).uri
        kubeflow.describe(rollouts, settings, gathered, round)
        done = steps.filter(settings, gathered, round)
        kubeflow.describe(dataset, settings, done.uri, round)
        kubeflow.scalars(metrics, done.result, round)
        return done.uri
