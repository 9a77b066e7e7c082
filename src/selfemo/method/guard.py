"""The collapse guard: figures that tell of a policy that has stopped to differ (method.md, The collapse guard).

Self-training on one's own majority drives a policy to one label, or to one reply, for everything. A round whose figures
fall past their bounds is stopped before it trains, and a challenger whose figures do is not promoted. Defined here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfemo.config.sections import Guard


def of_rollouts(metrics: Mapping[str, Any], bounds: Guard) -> str:
    """What is wrong with a round's rollouts.

    Args:
        metrics: Of the filter.
        bounds: Of the configuration.

    Returns:
        What fell past its bound, in words; empty if nothing did, or there was nothing to judge.
    """
    if not metrics["candidates"]:
        return ""
    found = {
        "label entropy of the predictions": (metrics["predicted_entropy"], bounds.min_label_entropy),
        "share of sound candidates": (metrics["sound"], bounds.min_sound),
    }
    if metrics["replies"]:
        found["distinct-2 of kept replies"] = (metrics["distinct_2"], bounds.min_distinct_2)
    return _past(found)


def of_challenger(scores: Mapping[str, Any], bounds: Guard) -> str:
    """The same of a challenger's evaluation.

    Args:
        scores: Result of the evaluation step.
        bounds: Of the configuration.
    """
    found = {"label entropy on held-out turns": (scores["label_entropy"], bounds.min_label_entropy)}
    if scores.get("expression_answered"):
        found["distinct-2 of held-out replies"] = (scores["expression_distinct_2"], bounds.min_distinct_2)
    return _past(found)


def _past(found: Mapping[str, tuple[float, float]]) -> str:
    past = [f"{name} {value:.2f} is below {least:g}" for name, (value, least) in found.items() if value < least]
    return "collapse: " + ", ".join(past) if past else ""
