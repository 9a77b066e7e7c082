"""The generate step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.generation, install_kfp_package=False)
def generate(config: str, policy: str, prepared: str, round: int, shard: int) -> str:
    """One shard of self-play: one policy is responder and recogniser, in turns.

    Args:
        config: The run's configuration, as JSON.
        policy: URI of the round's policy.
        prepared: URI of the prepared data.
        round: Number of the round.
        shard: Which shard of the round's dialogues, counted from 0.

    Returns:
        URI of the shard's rollouts.
    """
    from selfemo import logs, steps
    from selfemo.config import Config

    with logs.step("generate", round):
        return steps.generate(Config.from_json(config), policy, prepared, round, shard).uri
