"""The prepare step as a KFP component."""

from typing import NamedTuple

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False)
def prepare(config: str, dataset: dsl.Output[dsl.Dataset]) -> NamedTuple(
    "Outputs", [("prepared", str), ("shards", list[int])]
):
    """Corpora to a training pool, a warm-up sample and a held-out set.

    Args:
        config: The run's configuration, as JSON.
        dataset: Shown in the user interface.

    Returns:
        URI of the prepared data, and the numbers of the shards that self-play and evaluation are cut into.
    """
    from selfemo import logs, steps
    from selfemo.config import Config
    from selfemo.report import kubeflow

    with logs.step("prepare"):
        settings = Config.from_json(config)
        uri = steps.prepare(settings).uri
        kubeflow.describe(dataset, settings, uri, 0)
        return uri, list(range(settings.launch.shards))
