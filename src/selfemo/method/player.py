"""A policy at play: what it reads as recogniser, and what it hears as responder (method.md, Both roles)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from selfemo.data.dialogue import Utterance
from selfemo.data.labels import LabelSpace
from selfemo.data.records import Posterior
from selfemo.method.prompts import Prompter, TokenIds
from selfemo.method.rewards import Floats, posterior
from selfemo.policy.engine import Engine

COUNTED_TOKENS = 128
"""Tokens of a turn that the responder is asked about: what one line costs has a bound, whoever wrote it."""


@dataclass(frozen=True)
class Player:
    """A policy at play, in both roles.

    Attributes:
        engine: What samples and gives likelihoods.
        prompter: Builds the prompts.
        policy: URI of the weights, for the records.
    """

    engine: Engine
    prompter: Prompter
    policy: str

    def read(
        self,
        histories: Sequence[Sequence[Utterance]],
        spaces: Sequence[LabelSpace],
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Floats]:
        """As recogniser: how likely each of the allowed answers is for the last turn of each history, ``(A,)``.

        Exact: the policy is asked for the likelihood of every answer, and none is drawn.
        """
        return [posterior(row) for row in self.engine.log_likelihoods(*self.questions(histories, spaces), progress)]

    def questions(
        self, histories: Sequence[Sequence[Utterance]], spaces: Sequence[LabelSpace]
    ) -> tuple[list[TokenIds], list[list[TokenIds]]]:
        """What a recogniser asks an engine for: the likelihood of the allowed answers to a prompt for each history."""
        prompts = [self.prompter.understanding(h, s) for h, s in zip(histories, spaces, strict=True)]
        answers = {some: [self.prompter.answer(a) for a in some] for some in {s.answers for s in spaces}}
        return prompts, [answers[s.answers] for s in spaces]

    def hear(
        self,
        histories: Sequence[Sequence[Utterance]],
        spaces: Sequence[LabelSpace],
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Floats]:
        """As responder: how well each of the allowed answers accounts for the last turn of each history, ``(A,)``.

        The reverse of reading, a noisy channel (Min et al. 2022): how likely would the policy have said this very turn,
        had it meant to express that answer? ``log p(u_t | h_<t, E = P)``, over the root of the turn's tokens, since
        tokens of one turn are no independent witnesses (defined here); as a posterior in which no answer is likelier
        beforehand. Of a long turn the first :data:`COUNTED_TOKENS` count. To a turn that nothing was said before it
        has nothing to say: all answers alike.
        """
        replies = [i for i, history in enumerate(histories) if len(history) > 1]
        prompts, answers, lengths = [], [], []
        for i in replies:
            *before, turn = histories[i]
            prompts.append(self.prompter.expression(before, turn.speaker, spaces[i]))
            parts = [self.prompter.declared(answer, turn.text) for answer in spaces[i].answers]
            answers.append([head for head, _ in parts] + [(*head, *reply[:COUNTED_TOKENS]) for head, reply in parts])
            lengths.append([len(reply[:COUNTED_TOKENS]) for _, reply in parts])
        found = [np.full(len(space.answers), 1 / len(space.answers)) for space in spaces]
        logs = self.engine.log_likelihoods(prompts, answers, progress)
        for i, both, of_reply in zip(replies, logs, lengths, strict=True):
            declared_A, whole_A = np.array(both).reshape(2, -1)
            found[i] = posterior((whole_A - declared_A) / np.sqrt(of_reply))
        if first := len(histories) - len(replies):
            progress(first)
        return found


def written(chances_A: Floats) -> Posterior:
    """A posterior as records keep it: six digits tell as much as weights in bfloat16 know."""
    return tuple(round(float(p), 6) for p in chances_A)


def likeliest(chances_A: Floats, space: LabelSpace) -> tuple[str, ...]:
    """The likeliest answer, primary label first."""
    return space.answers[int(np.argmax(chances_A))]
