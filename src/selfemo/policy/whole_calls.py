"""A stepper for engines that answer whole calls alone, such as vLLM's: what waits becomes one call.

Requests that came while a call ran are in the next one, so many are computed together; a completion's tokens arrive all
at once. Defined here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from selfemo.policy.engine import Completion, Engine
from selfemo.policy.stepping import Ask, Broken, Drawn, Event, LikelihoodAsk, LikelihoodsFound, SampleAsk, TokenCounts

log = logging.getLogger(__name__)


class WholeCalls:
    """See :class:`selfemo.policy.stepping.Stepper`.

    Args:
        engine: What samples and scores.
        ends: Tokens that end a completion.
        together: Most requests of one call.
    """

    tops = False

    def __init__(self, engine: Engine, ends: Sequence[int], together: int) -> None:
        self.engine, self.ends, self.together = engine, frozenset(ends), together
        self.figures = TokenCounts()
        self._waiting: dict[Ask, None] = {}
        self._begun: list[Ask] = []

    def add(self, ask: SampleAsk | LikelihoodAsk) -> None:
        self._waiting[ask] = None

    def cancel(self, ask: Ask, index: int | None = None) -> None:
        if index is None:
            self._waiting.pop(ask, None)

    def begin(self) -> None:
        """Choose what the next call is for: what came first, and all that can go with it."""
        if self._begun or not self._waiting:
            return
        first = next(iter(self._waiting))
        alike = [ask for ask in self._waiting if _kind(ask) == _kind(first)][: self.together]
        for ask in alike:
            del self._waiting[ask]
        self._begun = alike

    def step(self) -> list[Event]:
        self.begin()
        asks = self._begun
        self.figures.rows = len(asks)
        try:
            events = self._called(asks)
        except Exception:
            log.exception("a call of %d requests failed; each is tried alone", len(asks))
            events = [event for ask in asks for event in self._alone(ask)]
        self._begun = []
        return events

    def _alone(self, ask: Ask) -> list[Event]:
        """One request may be what a call fails of: the others are answered."""
        try:
            return self._called([ask])
        except Exception:
            log.exception("a request failed")
            return [Broken(ask)]

    def _called(self, asks: Sequence[Ask]) -> list[Event]:
        events = list[Event]()
        samples = [a for a in asks if isinstance(a, SampleAsk)]
        likelihoods = [a for a in asks if isinstance(a, LikelihoodAsk)]
        if samples:
            groups = self.engine.sample([a.prompt for a in samples], [a.seed for a in samples], samples[0].sampling)
            self.figures.computed += sum(len(a.prompt) for a in samples)
            for ask, group in zip(samples, groups, strict=True):
                for index, completion in enumerate(group):
                    events += self._tokens(ask, index, completion)
        if likelihoods:
            prompts = [prompt for ask in likelihoods for prompt in ask.prompts]
            found = iter(self.engine.log_likelihoods(prompts, [some for ask in likelihoods for some in ask.answers]))
            self.figures.computed += sum(map(len, prompts))
            events += [LikelihoodsFound(ask, tuple(next(found) for _ in ask.prompts)) for ask in likelihoods]
        return events

    def _tokens(self, ask: SampleAsk, index: int, completion: Completion) -> list[Event]:
        self.figures.drawn += len(completion.ids)
        rows = list(zip(completion.ids, completion.logprobs, strict=True))
        last = len(rows) - 1
        why = "length" if len(rows) >= ask.sampling.max_tokens and rows[-1][0] not in self.ends else "stop"
        return [Drawn(ask, index, token, value, why if i == last else "") for i, (token, value) in enumerate(rows)]

    def begun(self) -> Sequence[Ask]:
        return self._begun

    def idle(self) -> bool:
        return not self._begun and not self._waiting

    def reset(self) -> None:
        self._begun = []
        self._waiting = {}


def _kind(ask: Ask) -> object:
    """What one call can be for: samples of one kind, or log-likelihoods."""
    return ask.sampling if isinstance(ask, SampleAsk) else None
