"""The prepare step as a KFP component."""

from typing import NamedTuple

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False)
def prepare(config: str, cycle: str, scheduled_at: str, dataset: dsl.Output[dsl.Dataset]) -> NamedTuple(
    "Outputs", [("settings", str), ("prepared", str), ("shards", list[int])]
):
    """Corpora to a training pool, a warm-up sample and a held-out set.

    Args:
        config: The run's configuration, as JSON.
        cycle: Name of the cycle, "scheduled" for the time below, or empty.
        scheduled_at: When Kubeflow scheduled the run for, in UTC.
        dataset: Shown in the user interface.

    Returns:
        The configuration as all later steps take it, under the cycle's name, and without rounds if there is nothing
        new to learn from; URI of the prepared data; and the numbers
        of the shards that self-play and evaluation are cut into.
    """
    from selfemo import cycles, logs, steps
    from selfemo.config import Config
    from selfemo.report import kubeflow

    with logs.step("prepare"):
        settings = cycles.of(Config.from_json(config), cycle, scheduled_at)
        prepared = steps.prepare(settings)
        kubeflow.describe(dataset, settings, prepared.uri, 0)
        settings = cycles.played(settings, prepared.result)
        return settings.to_json(), prepared.uri, list(range(settings.launch.shards))
