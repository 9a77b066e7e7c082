"""The score step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False)
def score(
    config: str,
    shards: list[str],
    policy: str,
    prepared: str,
    round: int,
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
) -> str:
    """Metrics of the answers of all shards, the same for any number of them.

    Args:
        config: The run's configuration, as JSON.
        shards: URIs of the shards' answers.
        policy: URI of the policy that answered.
        prepared: URI of the prepared data.
        round: Number of the round.
        metrics: Scores, shown in the user interface.
        confusion: Of the gate corpus, shown in the user interface.

    Returns:
        URI of the scores.
    """
    from selfemo import logs, steps
    from selfemo.config import Config
    from selfemo.report import kubeflow

    with logs.step("score", round):
        settings = Config.from_json(config)
        uri = steps.score(settings, shards, policy, prepared, round).uri
        kubeflow.scores(metrics, confusion, settings, uri)
        return uri
