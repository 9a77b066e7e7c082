"""The SELF-GRPO reward parts as functions that TRL's GRPOTrainer calls (method.md, SELF-GRPO)."""

from __future__ import annotations

from collections.abc import Sequence
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


class GroupRewards:
    """Alignment, consistency and format of groups of completions.

    For understanding, alignment is the smoothed IoU with the target and consistency the leave-one-out
    agreement over the group. For expression, alignment is ``x_j`` and consistency the agreement of the
    listeners' readings, both by the frozen policy of the round's start, so that the policy cannot raise
    its reward by bending its own judge within a round.

    Args:
        samples: The training set; completions refer to it by ``index``.
        config: Sections ``rewards``, ``selfplay`` and ``grpo``.
        listener: The frozen policy; None if no sample is an expression.
    """

    def __init__(self, samples: Sequence[Sample], config: Config, listener: Player | None) -> None:
        self.samples, self.config, self.listener = samples, config, listener
        self._last: tuple[object, Floats] | None = None

    def parts(self, completions: Sequence[str], index: Sequence[int]) -> Floats:
        """All three parts.

        Args:
            completions: ``B`` texts, the ``G`` of a group side by side.
            index: Each one's sample.

        Returns:
            ``(B, 3)``: align, consistency, format.
        """
        if self._last is not None and self._last[0] is completions:
            return self._last[1]  # TRL asks for the parts one by one, with the same list
        group = self.config.grpo.group
        parts = np.zeros((len(completions), 3))
        for start in range(0, len(completions), group):
            sample = self.samples[index[start]]
            texts = completions[start : start + group]
            work = self._understanding if sample.task == "understanding" else self._expression
            parts[start : start + group] = work(sample, texts)
        self._last = (completions, parts)
        return parts

    def align(self, completions: Sequence[str], index: Sequence[int], **_: Any) -> list[float]:
        """``r_align``."""
        return self.parts(completions, index)[:, 0].tolist()  # type: ignore[no-any-return]

    def consistency(self, completions: Sequence[str], index: Sequence[int], **_: Any) -> list[float]:
        """``r_cons``."""
        return self.parts(completions, index)[:, 1].tolist()  # type: ignore[no-any-return]

    def format(self, completions: Sequence[str], index: Sequence[int], **_: Any) -> list[float]:
        """``r_fmt``."""
        return self.parts(completions, index)[:, 2].tolist()  # type: ignore[no-any-return]

    def _understanding(self, sample: Sample, texts: Sequence[str]) -> Floats:
        space = SPACES[sample.corpus]
        masks = np.array([[parse_understanding(t, space).mask(space) for t in texts]], dtype=np.uint16)
        smoothing = self.config.rewards.smoothing
        align = smoothed_iou(masks, space.mask(sample.target), smoothing, affinity_of(self.config, space))
        return np.stack([align[0], agreement(masks, len(space), smoothing)[0], masks[0] != 0], axis=1)

    def _expression(self, sample: Sample, texts: Sequence[str]) -> Floats:
        space = SPACES[sample.corpus]
        answers = [parse_expression(t, space) for t in texts]
        valid = [i for i, a in enumerate(answers) if self._sound(a)]
        parts = np.zeros((len(texts), 3))
        if not valid:
            return parts
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
            parts[i] = candidate.score, candidate.confidence, 1.0
        return parts

    def _sound(self, answer: Answer) -> bool:
        reason = text_reason(answer.reply or "", self.config.flywheel.max_words)
        return answer.parsed and bool(answer.labels) and reason is Reason.KEPT
