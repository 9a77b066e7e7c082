"""The collapse guard: figures of a policy that gives everything the same answer (method.md, The collapse guard).

Self-training on one's own majority drives a policy to one label, or to one reply, for everything. A round whose figures
fall past their bounds is stopped before it trains, and a challenger whose figures do is not promoted. Defined here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from selfemo.config.sections import GuardSettings
from selfemo.method.rewards import entropy

ENOUGH_REPLIES = 16
"""Of which one that is said often says something."""
ENOUGH_TURNS = 64
"""Turns of a corpus from which on its labels are judged by themselves: fewer can be of one emotion by chance."""


def lowest_entropy(found: Mapping[str, Counter[str]]) -> float:
    """Entropy in nats of the labels of the corpus where it is lowest: a collapse on one is not hidden by the others.

    Args:
        found: Labels by corpus, counted; not empty. Corpora with less than :data:`ENOUGH_TURNS` of them are judged only
            if none has more, and then the one with the most.
    """
    enough = [c for c in found.values() if c.total() >= ENOUGH_TURNS] or [max(found.values(), key=Counter.total)]
    return min(entropy([*c.values()]) for c in enough)


def of_rollouts(metrics: Mapping[str, Any], bounds: GuardSettings) -> str:
    """What is wrong with a round's rollouts.

    Args:
        metrics: Of the filter (:class:`selfemo.method.flywheel.result.Filtered`): all of what the policy said itself.
        bounds: Of the configuration.

    Returns:
        What fell past its bound, in words; empty if nothing did, or there was nothing to judge.
    """
    if not metrics["candidates"]:
        return ""
    found = {
        name: (metrics[figure], bound)
        for name, figure, bound in (
            ("label entropy of the predictions", "predicted_entropy", bounds.min_label_entropy),
            ("label entropy of the declared emotions", "declared_entropy", bounds.min_label_entropy),
            ("share of eligible candidates", "eligible", bounds.min_eligible),
            ("distinct-2 of sampled replies", "sampled_distinct_2", bounds.min_distinct_2),
        )
        if figure in metrics  # the round asked for it
    }
    return _past(found, _stock("sampled replies", metrics, "sampled", bounds))


def of_challenger(scores: Mapping[str, Any], bounds: GuardSettings) -> str:
    """The same of a challenger's evaluation.

    Args:
        scores: Result of the evaluation step; the corpus where the label entropy is lowest counts.
        bounds: Of the configuration.
    """
    found = {"label entropy on held-out turns": (min(scores["label_entropies"].values()), bounds.min_label_entropy)}
    if scores.get("expression_answered"):
        found["distinct-2 of held-out replies"] = (scores["expression_distinct_2"], bounds.min_distinct_2)
    return _past(found, _stock("held-out replies", scores, "expression", bounds))


def _stock(of: str, figures: Mapping[str, Any], kind: str, bounds: GuardSettings) -> list[str]:
    """Whether one reply is said too often, in words; a few replies, and records older than the figure, tell nothing."""
    share = figures.get(f"{kind}_most_frequent", 0.0)
    if share <= bounds.max_most_frequent or figures.get(f"{kind}_replies", 0) < ENOUGH_REPLIES:
        return []
    return [f"share of the most frequent of {of} {share:.2f} is above {bounds.max_most_frequent:g}"]


def _past(found: Mapping[str, tuple[float, float]], above: Sequence[str]) -> str:
    past = [f"{name} {value:.2f} is below {least:g}" for name, (value, least) in found.items() if value < least]
    past += above
    return "collapse: " + ", ".join(past) if past else ""
