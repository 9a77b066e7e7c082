"""The decide step as a KFP component."""

from typing import NamedTuple

from kfp import dsl

from components import images


@dsl.component(base_image=images.PIPELINE, install_kfp_package=False)
def decide(
    config: str,
    champion: str,
    champion_scores: str,
    misses: int,
    challenger: str,
    challenger_scores: str,
    round: int,
    summary: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
) -> NamedTuple("Outputs", [("policy", str), ("scores", str), ("misses", int), ("go_on", bool)]):
    """Register the challenger, promote it through the gate, and say whether the loop goes on.

    Args:
        config: The run's configuration, as JSON.
        champion: URI of the champion; empty before there is one.
        champion_scores: URI of its scores.
        misses: Rounds in a row without promotion.
        challenger: URI of the round's weights.
        challenger_scores: URI of their scores.
        round: Number of the round.
        summary: The round in a few lines, shown in the user interface.
        page: The round with its curves and examples, shown in the user interface.

    Returns:
        The state that the next round starts from.
    """
    from selfemo import logs, steps
    from selfemo.config import Config
    from selfemo.report import kubeflow

    with logs.step("decide", round):
        state = steps.State(champion, champion_scores, misses)
        settings = Config.from_json(config)
        after = steps.decide(settings, state, challenger, challenger_scores, round)
        kubeflow.pages(summary, page, settings, after.decision)
        return after.policy, after.scores, after.misses, after.go_on
