"""The train step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT


@dsl.component(base_image=DEFAULT.training, install_kfp_package=False)
def train(config: str, policy: str, samples: str, prepared: str, round: int, model: dsl.Output[dsl.Model]) -> str:
    """SELF-GRPO: the round's policy to a challenger.

    Args:
        config: The run's configuration, as JSON.
        policy: URI of the round's policy.
        samples: URI of the training samples.
        prepared: URI of the prepared data, whose labelled dialogues are learnt again together with the samples.
        round: Number of the round.
        model: Shown in the user interface.

    Returns:
        URI of the challenger, or of a record that nothing was trained, which stands for the policy itself.
    """
    from selfemo import logs, steps
    from selfemo.config import Config
    from selfemo.report import kubeflow

    with logs.step("train", round):
        settings = Config.from_json(config)
        uri = steps.train(settings, policy, samples, prepared, round).uri
        kubeflow.describe(model, settings, uri, round)
        return uri
