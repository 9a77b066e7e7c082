"""How long a sequence on a tree may be."""

from __future__ import annotations

from typing import Any

from selfemo.errors import UserError


def check_length(model: Any, longest: int) -> None:
    """Refuse sequences beyond the positions that a model computes alike for short and long ones.

    Learned positions end. LongRoPE and dynamic RoPE turn all tokens of a pass otherwise once one lies beyond the length
    that the model was first trained on, and a tree holds sequences of different lengths.

    Args:
        model: A causal language model, wrapped or not.
        longest: Tokens of the longest sequence.

    Raises:
        UserError: With the limit.
    """
    config = getattr(getattr(model, "module", model), "config", None)
    if config is None:
        return
    text = config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or {}
    ropes = [rope] if "rope_type" in rope else [r for r in rope.values() if r]  # of kinds of layers
    most = getattr(text, "max_position_embeddings", None)
    turned = [r for r in ropes if r.get("rope_type") in ("longrope", "dynamic")]
    limits = [r.get("original_max_position_embeddings") or most for r in turned] if ropes else [most]
    limit = min((found for found in limits if found), default=longest)
    if longest > limit:
        raise UserError(
            f"a prompt with its answer is {longest} tokens long; on a tree this model reads {limit}",
            where=str(config.name_or_path),
            fix="lower policy.history_turns",
        )
