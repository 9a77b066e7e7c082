"""The gather step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False)
def gather(
    config: str,
    shards: list[str],
    policy: str,
    prepared: str,
    round: int,
    dataset: dsl.Output[dsl.Dataset],
) -> str:
    """The rollouts of all shards as one artifact, the same for any number of them.

    Args:
        config: The run's configuration, as JSON.
        shards: URIs of the shards' rollouts.
        policy: URI of the policy that played.
        prepared: URI of the prepared data.
        round: Number of the round.
        dataset: Shown in the user interface.

    Returns:
        URI of the rollouts.
    """
    from selfemo import logs, steps
    from selfemo.config import Config
    from selfemo.report import kubeflow

    with logs.step("gather", round):
        settings = Config.from_json(config)
        uri = steps.gather(settings, shards, policy, prepared, round).uri
        kubeflow.describe(dataset, settings, uri, round)
        return uri
