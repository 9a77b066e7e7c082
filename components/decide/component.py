"""The decide step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT
from components.state import loop_state


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False, additional_funcs=[loop_state])
def decide(
    config: str,
    policy: str,
    scores: str,
    misses: int,
    challenger: str,
    shards: list[str],
    prepared: str,
    round: int,
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
) -> loop_state():
    """Score the challenger, register it, promote it through the gate, and say whether the loop goes on.

    Args:
        config: The run's configuration, as JSON.
        policy: URI of the champion; empty before there is one.
        scores: URI of its scores.
        misses: Rounds in a row without promotion.
        challenger: URI of the round's weights.
        shards: URIs of the shards of what it answered.
        prepared: URI of the prepared data.
        round: Number of the round.
        metrics: Scores, shown in the user interface.
        confusion: Of the gate corpus, shown in the user interface.
        summary: The round in a few lines, shown in the user interface.
        page: The round with its curves and examples, shown in the user interface.

    Returns:
        The state that the next round starts from.
    """
    from selfemo import logs, steps
    from selfemo.config import Config
    from selfemo.loop import LoopState
    from selfemo.report import kubeflow

    with logs.step("decide", round):
        settings = Config.from_json(config)
        evaluated = steps.score(settings, shards, challenger, prepared, round).uri
        kubeflow.scores(metrics, confusion, settings, evaluated, round)
        after, record = steps.decide(settings, LoopState(policy, scores, misses), challenger, evaluated, round)
        kubeflow.pages(summary, page, settings, record)
        return after
