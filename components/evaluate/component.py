"""The evaluate step as a KFP component."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.GENERATION, install_kfp_package=False)
def evaluate(config: str, policy: str, prepared: str, round: int) -> str:
    """Scores of a policy on held-out dialogues.

    Args:
        config: The run's configuration, as JSON.
        policy: URI of the policy.
        prepared: URI of the prepared data.
        round: Number of the round.

    Returns:
        URI of the scores.
    """
    from selfemo import logs, steps
    from selfemo.config import Config

    with logs.step("evaluate", round):
        return steps.evaluate(Config.from_json(config), policy, prepared, round).uri
