"""What samples and gives likelihoods: one protocol; its engines are :mod:`.trees.sampler` and :mod:`.vllm_engine`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        n: Completions for each prompt.
        max_tokens: Most tokens of a completion, the end token included.
        temperature: 0 is greedy.
        top_p: Nucleus.
    """

    n: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Completion:
    """One sampled answer.

    Attributes:
        ids: Token ids, the end token included if it was reached.
        text: Decoded without special tokens.
        logprobs: Natural log-probability of each token under the policy itself: temperature 1, no nucleus.
    """

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]


class Engine(Protocol):
    """Samples completions of token prompts, and says how likely given ones are."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: Sampling,
        progress: Callable[[int], None] = ...,
    ) -> list[list[Completion]]:
        """``sampling.n`` completions for each prompt, in the order of the prompts.

        Args:
            prompts: Token ids.
            seeds: One a prompt: the same seed gives the same completions whatever else is in the call.
            sampling: How.
            progress: Called with the number of prompts that were finished since the last call.
        """
        ...

    def log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[Sequence[int]]],
        progress: Callable[[int], None] = ...,
    ) -> list[tuple[float, ...]]:
        """How likely each of some answers to each prompt is: the sum of its tokens' natural log-probabilities.

        Nothing is drawn, so nothing depends on a seed. The policy itself is asked: temperature 1, no nucleus.

        Args:
            prompts: Token ids.
            answers: For each prompt the token ids of some answers, each non-empty, its end token included.
            progress: Called with the number of prompts that were finished since the last call.
        """
        ...
