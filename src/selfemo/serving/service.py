"""What the server does with a request, apart from HTTP: from its fields to what an engine is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from secrets import randbits
from typing import TYPE_CHECKING, Any

from selfemo.data.dialogue import Utterance
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.errors import UserError
from selfemo.method.chat import rendered
from selfemo.policy.engine import Sampling
from selfemo.policy.stepping import LikelihoodAsk, SampleAsk, Stepper, stepper_of
from selfemo.serving.labels import Form
from selfemo.serving.schema import ChatRequest, Message, TurnEmotions

if TYPE_CHECKING:
    from selfemo.method.player import Player

CONTEXT_TOKENS = 8_192
"""Longest prompt that is answered, where the model does not know fewer positions."""


class RequestRefused(ValueError):
    """A request that the model cannot be asked; says why."""


class TooLong(RequestRefused):
    """A prompt beyond what is answered."""


@dataclass
class Service:
    """One policy.

    Attributes:
        player: The policy at play.
        name: Under which clients know it.
        labels: Corpus whose labels are read where a request names none.
        spaces: Label spaces by corpus: those that the policy was taught, and those that it can be asked for besides.
        identity: What exactly is served: source, digest, version.
    """

    player: Player
    name: str
    labels: str
    spaces: Spaces
    identity: Mapping[str, str]

    def stepper(self, together: int) -> Stepper:
        """What works on its requests.

        Args:
            together: Most at the same time.
        """
        engine = self.player.engine
        ends = getattr(engine, "ends", [self.player.prompter.tokenizer.eos_token_id])
        return stepper_of(engine, [int(e) for e in ends], together)

    @cached_property
    def context(self) -> int:
        """Tokens of a prompt and its answer together."""
        config = getattr(getattr(self.player.engine, "model", None), "config", None)
        of_model = getattr(config, "max_position_embeddings", None) or CONTEXT_TOKENS
        of_tokenizer = getattr(self.player.prompter.tokenizer, "model_max_length", CONTEXT_TOKENS)
        return int(min(CONTEXT_TOKENS, of_model, of_tokenizer))

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that are no part of an answer's text."""
        found = getattr(self.player.engine, "ends", [self.player.prompter.tokenizer.eos_token_id])
        return frozenset(int(e) for e in found)

    def chat(self, request: ChatRequest, space: str) -> SampleAsk:
        """A chat as an engine is asked for it.

        Raises:
            TooLong: If there is no room for the messages and an answer.
            RequestRefused: If the model's template does not take them.
        """
        tokenizer = self.player.prompter.tokenizer
        prompt = tokenizer(self._written(request.messages), add_special_tokens=False)["input_ids"]
        room = self.context - len(prompt)
        if room < 1:
            raise TooLong(f"the messages are {len(prompt)} tokens long; {self.context - 1} are answered")
        random = request.seed is None or request.seed < 0
        seed = randbits(31) if random else int(request.seed or 0)
        sampling = Sampling(request.n, min(room, request.room), request.temperature, request.top_p)
        return SampleAsk(prompt, seed, sampling, request.top_logprobs, space=space)

    def _written(self, messages: Sequence[Message]) -> str:
        """Messages in the model's own form."""
        neutralise = self.player.prompter.neutralise_lines
        try:
            return rendered(
                self.player.prompter.tokenizer, [{"role": m.role, "content": neutralise(m.content)} for m in messages]
            )
        except UserError as refusal:
            raise RequestRefused(f"messages: {refusal.message}") from None

    def reading(self, histories: Sequence[Sequence[Utterance]], label_space: LabelSpace, space: str) -> LikelihoodAsk:
        """The emotions of the last turn of each history as an engine is asked for them.

        Raises:
            TooLong: If a prompt is.
        """
        prompts, answers = self.player.questions(histories, [label_space] * len(histories))
        longest = max(map(len, prompts)) + max(map(len, answers[0]))
        if longest > self.context:
            raise TooLong(f"the turns are {longest} tokens long; {self.context} are read")
        return LikelihoodAsk(prompts, answers, space=space)

    def emotions(
        self,
        numbers: Sequence[int],
        histories: Sequence[Sequence[Utterance]],
        label_space: LabelSpace,
        log_likelihoods: Sequence[Sequence[float]],
    ) -> list[TurnEmotions]:
        """What was read, turn by turn.

        Args:
            numbers: Of the turns.
            histories: Up to each of them.
            label_space: Whose labels.
            log_likelihoods: Of the engine.
        """
        from selfemo.method.player import likeliest
        from selfemo.method.rewards import marginals, posterior

        found = []
        for number, history, row in zip(numbers, histories, log_likelihoods, strict=True):
            chances_A = posterior(row)
            (of_labels,) = marginals(chances_A[None], label_space.answer_masks, len(label_space))
            named = {label: round(p, 4) for label, p in zip(label_space.labels, of_labels.tolist(), strict=True)}
            found.append(
                TurnEmotions(
                    turn=number,
                    speaker=history[-1].speaker,
                    emotions=list(likeliest(chances_A, label_space)),
                    scores=dict(sorted(named.items(), key=lambda s: -s[1])),
                )
            )
        return found

    def form(self, form: Form, log_likelihoods: Sequence[float]) -> dict[str, Any]:
        """The JSON that a chat asked for."""
        from selfemo.method.rewards import posterior

        return form.answer(posterior(log_likelihoods))
