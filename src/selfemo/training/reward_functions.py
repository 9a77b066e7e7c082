"""The SELF-GRPO reward parts, a function and a line of :data:`PARTS` each, as TRL's GRPOTrainer calls them.

A part sees one group: the ``G`` completions of one prompt, parsed and read once for all parts (method.md, SELF-GRPO).
Where understanding is exact, the group is all the allowed answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from selfemo.config import Config
from selfemo.data.dialogue import Utterance
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.data.records import Candidate, Sample
from selfemo.method.affinity import affinity_of
from selfemo.method.flywheel.reasons import Reason
from selfemo.method.flywheel.texts import text_reason
from selfemo.method.parsing import Answer, parse_reply, parse_understanding
from selfemo.method.player import Player
from selfemo.method.rewards import Floats, smoothed_iou
from selfemo.method.selfplay import grade, listen
from selfemo.training.repeats import Repeats


@dataclass(frozen=True)
class Group:
    """The completions of one prompt, and what was read in them.

    Attributes:
        sample: What the prompt comes from.
        texts: The completions.
        answers: Parsed.
        fit_G: For understanding the expected smoothed IoU with the target, which may be in doubt (sampled, as in stock
            GRPO: the smoothed IoU with its consensus); for expression ``x_j``, how well listeners read the declared
            emotions, shared among the groups that say the same.
        agreement_G: For understanding the expected smoothed IoU with what the other role says; for expression
            how sure the listeners are of what they read, shared likewise.
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


def understood(
    sample: Sample, texts: Sequence[str], answers: Sequence[Answer], space: LabelSpace, config: Config
) -> Group:
    """Answers to an understanding sample's prompt, read: a sampled group, or all that are allowed.

    Args:
        sample: What was asked.
        texts: Completions.
        answers: The same, parsed.
        space: Their labels.
        config: Sections ``rewards`` and ``grpo``.
    """
    smoothing, affinity = config.rewards.smoothing, affinity_of(config, space)
    masks_G = np.array([a.mask(space) for a in answers], dtype=np.uint64)
    with_each_GA = smoothed_iou(masks_G[:, None], space.answer_masks[None], smoothing, affinity)
    fit_G = smoothed_iou(masks_G, space.mask(sample.target), smoothing, affinity)
    if sample.consensus and config.grpo.understanding == "exact":  # stock GRPO has one right answer
        fit_G = with_each_GA @ np.array(sample.consensus)
    agreement_G = with_each_GA @ np.array(sample.posterior)
    return Group(sample, texts, answers, fit_G, agreement_G, (masks_G != 0).astype(np.float64))


class GroupRewards:
    """All parts, for groups of completions.

    The listener that reads replies is the frozen policy of the round's start, so that the policy cannot raise its
    reward by bending its own reading within a round. Replies to many prompts that say the same share their rewards, all
    but that for the form, or one stock phrase would be the best reply to all.

    Args:
        samples: The training set; completions refer to it by ``index``.
        spaces: Their labels.
        config: Sections ``rewards``, ``selfplay`` and ``grpo``.
        listener: The frozen policy; None if no sample is an expression.
        repeats: What was said to the last prompts; None has it begin here.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        spaces: Spaces,
        config: Config,
        listener: Player | None,
        repeats: Repeats | None = None,
    ) -> None:
        self.samples, self.spaces, self.config, self.listener = samples, spaces, config, listener
        self.repeats = repeats or Repeats()
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
        starts = range(0, len(completions), size)
        groups = [self.read(self.samples[index[s]], completions[s : s + size]) for s in starts]
        for start, group in zip(starts, self._shared(groups), strict=True):
            for column, part in enumerate(PARTS.values()):
                parts_BP[start : start + size, column] = part(group)
        self._last = (completions, parts_BP)
        return parts_BP

    def read(self, sample: Sample, texts: Sequence[str]) -> Group:
        """A group, parsed and read."""
        space = self.spaces[sample.corpus]
        if sample.task == "understanding":
            return understood(sample, texts, [parse_understanding(t, space) for t in texts], space, self.config)
        return self._expression(sample, texts, space)

    def _shared(self, groups: Sequence[Group]) -> list[Group]:
        """Groups in which a reply that is said to other prompts as well has a part of its reward."""
        of_replies = [at for at, group in enumerate(groups) if group.sample.task == "expression"]
        said = [[answer.reply or "" for answer in groups[at].answers] for at in of_replies]
        parts = self.repeats.shared([groups[at].sample.id for at in of_replies], said)
        found = list(groups)
        for at, part_G in zip(of_replies, parts, strict=True):
            group = groups[at]
            found[at] = replace(group, fit_G=group.fit_G * part_G, agreement_G=group.agreement_G * part_G)
        return found

    def _expression(self, sample: Sample, texts: Sequence[str], space: LabelSpace) -> Group:
        answers = [parse_reply(t, sample.target) for t in texts]
        valid = [i for i, a in enumerate(answers) if self._valid(a, space)]
        fit_G, agreement_G, valid_G = np.zeros((3, len(texts)))
        if valid:
            assert self.listener is not None  # made whenever there are expression samples
            histories = [(*sample.history, Utterance(speaker=sample.role, text=answers[i].reply or "")) for i in valid]
            candidates = [Candidate(text=texts[i], labels=answers[i].labels, reply=answers[i].reply) for i in valid]
            readings = listen(self.listener, histories, [space] * len(valid), self.config)
            for i, candidate in zip(valid, grade(candidates, readings, space, self.config), strict=True):
                fit_G[i], agreement_G[i], valid_G[i] = candidate.score, candidate.confidence, 1.0
        return Group(sample, texts, answers, fit_G, agreement_G, valid_G)

    def _valid(self, answer: Answer, space: LabelSpace) -> bool:
        reason = text_reason(answer.reply or "", self.config.flywheel.max_words, space)
        return answer.parsed and bool(answer.labels) and reason is Reason.KEPT
