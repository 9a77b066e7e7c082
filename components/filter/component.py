"""The filter step as a KFP component."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.PIPELINE, install_kfp_package=False)
def filter(config: str, rollouts: str, round: int) -> str:
    """The data flywheel: what is kept of the rollouts, by smoothed IoU and agreement.

    Args:
        config: The run's configuration, as JSON.
        rollouts: URI of the round's rollouts.
        round: Number of the round.

    Returns:
        URI of the training samples.
    """
    from selfemo import logs, steps
    from selfemo.config import Config

    with logs.step("filter", round):
        return steps.filter(Config.from_json(config), rollouts, round).uri
