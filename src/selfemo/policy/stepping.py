"""What a server asks of an engine: requests that come and go, worked on together, a little at a time.

One protocol; :mod:`.trees.stepper` computes a token of every request in one pass, :mod:`.whole_calls` makes calls of
any engine's. Defined here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from selfemo.policy.engine import Engine, Sampling


@dataclass(eq=False)
class Ask:
    """One piece of work; its identity is the object's own.

    Attributes:
        space: Whose it is: nothing that was kept for one space is used for another.
        reused: Tokens of its prompts that had not to be computed, known once it is begun.
    """

    space: str = field(default="", kw_only=True)
    reused: int = field(default=0, kw_only=True)


@dataclass(eq=False)
class SampleAsk(Ask):
    """Completions of one prompt.

    Attributes:
        prompt: Token ids.
        seed: The same seed gives the same completions whatever else is worked on.
        sampling: How.
        top: Likeliest tokens to tell with each token that is drawn.
    """

    prompt: Sequence[int]
    seed: int
    sampling: Sampling
    top: int = 0


@dataclass(eq=False)
class LikelihoodAsk(Ask):
    """How likely each of some answers to each of some prompts is, as an engine's ``log_likelihoods`` says it."""

    prompts: Sequence[Sequence[int]]
    answers: Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True)
class Drawn:
    """A token of one completion.

    Attributes:
        ask: Of what.
        index: Of which of its completions.
        token: Its id.
        logprob: Natural log-probability under the policy itself: temperature 1, no nucleus.
        end: Empty, or why it is the last: ``stop`` if it is an end token, ``length`` if there is no room for more.
        top: The likeliest tokens and their log-probabilities, as many as were asked for.
    """

    ask: SampleAsk
    index: int
    token: int
    logprob: float
    end: str = ""
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class LikelihoodsFound:
    """All log-likelihoods of an ask: for each prompt, of each answer."""

    ask: LikelihoodAsk
    log_likelihoods: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Broken:
    """An ask that the engine cannot answer."""

    ask: Ask


Event = Drawn | LikelihoodsFound | Broken


@dataclass
class TokenCounts:
    """What a stepper has done so far, in tokens, and what it holds now.

    Attributes:
        computed: Tokens of prompts and answers that went through the model.
        reused: Tokens of prompts whose keys and values were there already.
        drawn: Tokens drawn.
        kept: Tokens whose keys and values are kept for requests to come.
        rows: How many requests the last step worked on.
    """

    computed: int = 0
    reused: int = 0
    drawn: int = 0
    kept: int = 0
    rows: int = 0


class Stepper(Protocol):
    """Works on requests. Not safe for threads: one thread owns it."""

    tops: bool
    """Whether it can tell the likeliest tokens."""
    figures: TokenCounts

    def add(self, ask: SampleAsk | LikelihoodAsk) -> None:
        """Take a request; it is begun in a later step."""
        ...

    def cancel(self, ask: Ask, index: int | None = None) -> None:
        """Forget a request, or one of its completions; one that is done or unknown is let pass."""
        ...

    def step(self) -> list[Event]:
        """Do a little of the work, and say what came of it."""
        ...

    def begun(self) -> Sequence[Ask]:
        """Requests that are worked on."""
        ...

    def idle(self) -> bool:
        """Whether there is nothing to do."""
        ...

    def reset(self) -> None:
        """Forget everything, after an error."""
        ...


def stepper_of(engine: Engine, ends: Sequence[int], together: int) -> Stepper:
    """What works on requests with an engine: its own stepper, else whole calls.

    Args:
        engine: Any.
        ends: Tokens that end a completion.
        together: Most requests that are worked on at the same time.
    """
    from selfemo.policy.whole_calls import WholeCalls

    made = engine.stepper(together) if hasattr(engine, "stepper") else None
    return made or WholeCalls(engine, ends, together)
