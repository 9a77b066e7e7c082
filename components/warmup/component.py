"""The warmup step as a KFP component."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAINING, install_kfp_package=False)
def warmup(config: str, prepared: str) -> str:
    """The base model to theta_0: supervised on the warm-up dialogues.

    Args:
        config: The run's configuration, as JSON.
        prepared: URI of the prepared data.

    Returns:
        URI of the policy.
    """
    from selfemo import logs, steps
    from selfemo.config import Config

    with logs.step("warmup"):
        return steps.warmup(Config.from_json(config), prepared).uri
