"""The carry step as a KFP component."""

from kfp import dsl

from components.images import DEFAULT
from components.state import loop_state


@dsl.component(base_image=DEFAULT.pipeline, install_kfp_package=False, additional_funcs=[loop_state])
def carry(policy: str, scores: str, misses: int) -> loop_state():
    """Hand on the state of a loop that has stopped.

    Args:
        policy: URI of the champion.
        scores: URI of its scores.
        misses: Rounds in a row without promotion.

    Returns:
        The same state, and that the loop does not go on.
    """
    from selfemo.loop import LoopState

    return LoopState(policy, scores, misses, go_on=False)
