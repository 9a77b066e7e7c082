"""The warmup step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.training, install_kfp_package=False)
def warmup(config: str, prepared: str, model: dsl.Output[dsl.Model]) -> str:
    """The base model to the first policy, supervised on a few gold dialogues.

    Args:
        config: The run's configuration, as JSON.
        prepared: URI of the prepared data.
        model: Shown in the user interface.

    Returns:
        URI of the policy.
    """
    from selfemo import logs, steps
    from selfemo.config import Config
    from selfemo.report import kubeflow

    with logs.step("warmup"):
        settings = Config.from_json(config)
        uri = steps.warmup(settings, prepared).uri
        kubeflow.describe(model, settings, uri, 0)
        return uri
