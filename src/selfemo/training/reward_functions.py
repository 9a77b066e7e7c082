"""The SELF-GRPO reward parts, a function and a line of :data:`PARTS` each, as TRL's GRPOTrainer calls them.

A part sees one group: the ``G`` completions of one prompt, parsed and read once for all parts (method.md, SELF-GRPO).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfemo.config import Config
from selfemo.data.corpora.table import SPACES
from selfemo.data.dialogue import Utterance
from selfemo.data.records import Candidate, Sample
from selfemo.data.seeds import seed_of
from selfemo.method.flywheel.reasons import Reason
from selfemo.method.flywheel.texts import text_reason
from selfemo.method.prompts import ANSWER_TOKENS, Answer, parse_expression, parse_understanding
from selfemo.method.rewards import Floats, agreement, smoothed_iou
from selfemo.method.selfplay import Player, affinity_of, grade
from selfemo.policy.engine import Sampling


@dataclass(frozen=True)
class Group:
    """The completions of one prompt, and what was read in them.

    Attributes:
        sample: What the prompt comes from.
        texts: The completions.
        answers: Parsed.
        fit_G: For understanding the smoothed IoU with the target; for expression ``x_j``, how well listeners read the
            declared emotions.
        agreement_G: For understanding the leave-one-out agreement with the group; for expression that of the
            listeners' readings of the reply.
        valid_G: Whether a completion is an answer of the form asked for.
    """

    sample: Sample
    texts: Sequence[str]
    answers: Sequence[Answer]
    fit_G: Floats
    agreement_G: Floats
    valid_G: Floats


def align(group: Group) -> Floats:
    """``r_align``, multi-label alignment (SELF-EMO abstract)."""
    return group.fit_G


def consistency(group: Group) -> Floats:
    """``r_cons``, group-level consistency (SELF-EMO abstract)."""
    return group.agreement_G


def form(group: Group) -> Floats:
    """``r_fmt``: 1 for an answer of the form asked for (defined here)."""
    return group.valid_G


PARTS: dict[str, Callable[[Group], Floats]] = {
    "align": align,
    "consistency": consistency,
    "format": form,
}
"""Each part gives ``(G,)``; its weight is the setting of the same name in section ``rewards``."""


def weights_of(config: Config) -> list[float]:
    """The weight of each part, in the order of :data:`PARTS`."""
    return [getattr(config.rewards, name) for name in PARTS]


class GroupRewards:
    """All parts, for groups of completions.

    The listener that reads replies is the frozen policy of the round's start, so that the policy cannot raise its
    reward by bending its own reading within a round.

    Args:
        samples: The training set; completions refer to it by ``index``.
        config: Sections ``rewards``, ``selfplay`` and ``grpo``.
        listener: The frozen policy; None if no sample is an expression.
    """

    def __init__(self, samples: Sequence[Sample], config: Config, listener: Player | None) -> None:
        self.samples, self.config, self.listener = samples, config, listener
        self._last: tuple[object, Floats] | None = None

    @property
    def functions(self) -> list[Callable[..., list[float]]]:
        """One function a part, under the part's name, as TRL takes them."""

        def of(column: int, name: str) -> Callable[..., list[float]]:
            def part(completions: Sequence[str], index: Sequence[int], **_: Any) -> list[float]:
                return self.parts(completions, index)[:, column].tolist()  # type: ignore[no-any-return]  # numpy's Any

            part.__name__ = name
            return part

        return [of(column, name) for column, name in enumerate(PARTS)]

    def parts(self, completions: Sequence[str], index: Sequence[int]) -> Floats:
        """All parts.

        Args:
            completions: ``B`` texts, the ``G`` of a group side by side.
            index: Each one's sample.

        Returns:
            ``(B, P)``, a column for each of :data:`PARTS`.
        """
        if self._last is not None and self._last[0] is completions:
            return self._last[1]  # TRL asks for the parts one by one, with the same list
        size = self.config.grpo.group
        parts_BP = np.zeros((len(completions), len(PARTS)))
        for start in range(0, len(completions), size):
            group = self.read(self.samples[index[start]], completions[start : start + size])
            for column, part in enumerate(PARTS.values()):
                parts_BP[start : start + size, column] = part(group)
        self._last = (completions, parts_BP)
        return parts_BP

    def read(self, sample: Sample, texts: Sequence[str]) -> Group:
        """A group, parsed and read."""
        return self._understanding(sample, texts) if sample.task == "understanding" else self._expression(sample, texts)

    def _understanding(self, sample: Sample, texts: Sequence[str]) -> Group:
        space, smoothing = SPACES[sample.corpus], self.config.rewards.smoothing
        answers = [parse_understanding(t, space) for t in texts]
        masks_G = np.array([a.mask(space) for a in answers], dtype=np.uint16)
        fit_G = smoothed_iou(masks_G, space.mask(sample.target), smoothing, affinity_of(self.config, space))
        agreement_G = agreement(masks_G[None], len(space), smoothing)[0]
        return Group(sample, texts, answers, fit_G, agreement_G, (masks_G != 0).astype(np.float64))

    def _expression(self, sample: Sample, texts: Sequence[str]) -> Group:
        space = SPACES[sample.corpus]
        answers = [parse_expression(t, space) for t in texts]
        valid = [i for i, a in enumerate(answers) if self._valid(a)]
        fit_G, agreement_G, valid_G = np.zeros((3, len(texts)))
        if valid:
            assert self.listener is not None  # made whenever there are expression samples
            play = self.config.selfplay
            heard = [(*sample.history, Utterance(speaker=sample.role, text=answers[i].reply or "")) for i in valid]
            seeds = [seed_of(self.config.seed, "listener", sample.id, texts[i]) for i in valid]
            sampling = Sampling(play.readings, ANSWER_TOKENS, play.temperature, play.top_p)
            read = self.listener.read(heard, [space] * len(valid), seeds, sampling)
            candidates = [
                Candidate(text=texts[i], labels=answers[i].labels, reply=answers[i].reply, readings=predictions)
                for i, predictions in zip(valid, read, strict=True)
            ]
            for i, candidate in zip(valid, grade(candidates, space, self.config), strict=True):
                fit_G[i], agreement_G[i], valid_G[i] = candidate.score, candidate.confidence, 1.0
        return Group(sample, texts, answers, fit_G, agreement_G, valid_G)

    def _valid(self, answer: Answer) -> bool:
        reason = text_reason(answer.reply or "", self.config.flywheel.max_words)
        return answer.parsed and bool(answer.labels) and reason is Reason.KEPT
