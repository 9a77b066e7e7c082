"""Leakage: what stands in an evaluation split must not be trained on, in whatever corpus it turns up."""

from __future__ import annotations

from collections.abc import Sequence

from selfemo.data.dialogue import Dialogue
from selfemo.data.scripts import copied, length

LEAST_WORDS = 5
"""Shorter utterances ("What?") are common speech, not copies."""


def copy_key(text: str) -> str:
    """Lower-case words only, in any script: what two copies of an utterance share."""
    return " ".join(copied(text))


def remove(training: Sequence[Dialogue], held_out: Sequence[Dialogue]) -> tuple[list[Dialogue], int]:
    """Training dialogues without utterances that have the copy key of one in a held-out dialogue.

    A dialogue loses the utterance itself and what follows it is kept: prompts read turns in order, and a gap
    does less harm than a copy.

    Returns:
        The dialogues that have any turn left, and how many utterances were removed.
    """
    known = {copy_key(u.text) for d in held_out for u in d.turns}
    known = {text for text in known if length(text) >= LEAST_WORDS}
    kept, removed = [], 0
    for dialogue in training:
        turns = tuple(u for u in dialogue.turns if copy_key(u.text) not in known)
        removed += len(dialogue.turns) - len(turns)
        if turns:
            kept.append(dialogue if len(turns) == len(dialogue.turns) else dialogue.model_copy(update={"turns": turns}))
    return kept, removed
