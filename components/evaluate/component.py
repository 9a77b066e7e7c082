"""The evaluate step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.generation, install_kfp_package=False)
def evaluate(config: str, policy: str, prepared: str, round: int, shard: int) -> str:
    """What a policy answers on one shard of the held-out dialogues.

    Args:
        config: The run's configuration, as JSON.
        policy: URI of the policy.
        prepared: URI of the prepared data.
        round: Number of the round.
        shard: Which shard of the held-out dialogues, counted from 0.

    Returns:
        URI of the shard's answers.
    """
    from selfemo import logs, steps
    from selfemo.config import Config

    with logs.step("evaluate", round):
        return steps.evaluate(Config.from_json(config), policy, prepared, round, shard).uri
