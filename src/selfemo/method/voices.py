"""Several voices that read the same turns, and the one reading they come to (method.md, Both roles). Defined here.

A voice gives each turn a posterior over the allowed answers. The recogniser reads the turn; the responder, if it is
asked, says how well each answer accounts for it, a noisy channel (Min et al. 2022); a bag of words reads it too. They
err in different turns, so together they are right more often than each:
``q(P) = prod_v p_v(P)^w_v / Z``, a logarithmic opinion pool (Genest and Zidek 1986).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from selfemo.method.rewards import Floats, posterior

RECOGNISER, RESPONDER, WORDS = "recogniser", "responder", "words"

BELIEFS = {RECOGNISER: 1.0, RESPONDER: 0.2, WORDS: 0.5}
"""What each voice counts before any labelled turn is looked at."""

SPREAD = 0.3
"""How far from that a weight may well lie: a few dialogues' turns are too few to tell weights by alone."""

FLOOR = 1e-6
"""Least that an answer's likelihood counts: no voice alone can rule one out."""


def pool(voices: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """The reading that voices come to.

    Args:
        voices: Posteriors ``(N, A)`` by the name of the voice.
        weights: ``w_v`` of each.

    Returns:
        ``(N, A)``; rows sum to 1.
    """
    return posterior(sum(weights[name] * _logs(chances_NA) for name, chances_NA in voices.items()))


def fit_weights(voices: Mapping[str, Floats], gold: NDArray[np.int64]) -> dict[str, float]:
    """What each voice counts: the likeliest weights, given labelled turns that the policy has not learnt from.

    They maximise the log-likelihood of gold in the pool, less the squared distance from :data:`BELIEFS` in units of
    :data:`SPREAD`, halved: a Gaussian prior. None is below 0.

    Args:
        voices: Posteriors ``(N, A)`` of the labelled turns.
        gold: ``(N,)`` index of each one's answer.
    """
    from scipy.optimize import minimize

    believed = [BELIEFS[name] for name in voices]
    bounds = [(0, None)] * len(voices)
    found = minimize(loss_of(voices, gold), believed, jac=True, method="L-BFGS-B", bounds=bounds)
    return dict(zip(voices, map(float, found.x), strict=True))


def loss_of(voices: Mapping[str, Floats], gold: NDArray[np.int64]) -> Callable[[Floats], tuple[float, Floats]]:
    """What :func:`fit_weights` makes least: a function of the weights ``(V,)`` that gives the loss and its slope."""
    believed = np.array([BELIEFS[name] for name in voices])
    logs_VNA = np.stack([_logs(chances_NA) for chances_NA in voices.values()])
    rows = np.arange(len(gold))

    def loss(weights_V: Floats) -> tuple[float, Floats]:
        pooled_NA = posterior(np.tensordot(weights_V, logs_VNA, 1))
        apart_V = (weights_V - believed) / SPREAD
        likelihood = np.log(pooled_NA[rows, gold]).sum()
        expected_VN = (pooled_NA[None] * logs_VNA).sum(-1)
        slope_V = (logs_VNA[:, rows, gold] - expected_VN).sum(-1)
        return float((apart_V**2).sum() / 2 - likelihood), apart_V / SPREAD - slope_V

    return loss


def _logs(chances_NA: Floats) -> Floats:
    return np.log(np.maximum(chances_NA, FLOOR))
