"""The prepare step as a KFP component."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.PIPELINE, install_kfp_package=False)
def prepare(config: str) -> str:
    """Corpora to a training pool, a warm-up sample and a held-out set.

    Args:
        config: The run's configuration, as JSON.

    Returns:
        URI of the prepared data.
    """
    from selfemo import logs, steps
    from selfemo.config import Config

    with logs.step("prepare"):
        return steps.prepare(Config.from_json(config)).uri
