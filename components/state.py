"""The loop's state as an output of components."""


def loop_state() -> type:
    """The type of the loop's state, for return annotations.

    KFP ships the source of a component's function alone, where no name of its module is known when the annotation is
    read: a component says ``-> loop_state()`` and gives ``additional_funcs=[loop_state]``, which is shipped before it.
    """
    from selfemo.loop import LoopState

    return LoopState
