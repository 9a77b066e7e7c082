"""What the server does with a request, apart from HTTP."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfemo.data.corpora.table import SPACES
from selfemo.errors import UserError
from selfemo.method.chat import rendered
from selfemo.policy.engine import Sampling
from selfemo.serving.schema import ChatRequest, EmotionsRequest, EmotionsResponse, TurnEmotions

if TYPE_CHECKING:
    from selfemo.method.player import Player

CONTEXT_TOKENS = 8_192
"""Longest prompt that is answered."""


class TooLong(ValueError):
    """A prompt beyond what is answered."""


class Unwritable(TooLong):
    """Messages that the model's chat template does not take in any form."""


@dataclass
class Service:
    """One policy. It answers one request at a time; the others wait in an ``EngineQueue``.

    Attributes:
        player: The policy at play.
        name: Under which clients know it.
        labels: Corpus whose labels are read where a request names none.
        identity: What exactly is served: source, digest, version.
    """

    player: Player
    name: str
    labels: str
    identity: Mapping[str, str]

    def chat(self, request: ChatRequest) -> dict[str, Any]:
        """A chat completion, as OpenAI's API answers it."""
        prompter = self.player.prompter
        messages = [{"role": m.role, "content": prompter.neutralise_lines(m.content)} for m in request.messages]
        try:
            text = rendered(prompter.tokenizer, messages)
        except UserError as refusal:
            raise Unwritable(f"messages: {refusal.message}") from None
        prompt = prompter.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(prompt) > CONTEXT_TOKENS:
            raise TooLong(f"the messages are {len(prompt)} tokens long; {CONTEXT_TOKENS} are answered")
        seed = secrets.randbits(31) if request.seed is None else request.seed
        sampling = Sampling(request.n, request.room, request.temperature, request.top_p)
        (completions,) = self.player.engine.sample([prompt], [seed], sampling)
        choices, written = [], 0
        for index, completion in enumerate(completions):
            answer, reason = completion.text, "length" if len(completion.ids) >= request.room else "stop"
            for stop in request.stops:
                if stop in answer:
                    answer, reason = answer[: answer.index(stop)], "stop"
            written += len(completion.ids)
            message = {"role": "assistant", "content": answer}
            choices.append({"index": index, "message": message, "finish_reason": reason, "logprobs": None})
        usage = {"prompt_tokens": len(prompt), "completion_tokens": written, "total_tokens": len(prompt) + written}
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.name,
            "choices": choices,
            "usage": usage,
            "system_fingerprint": self.identity.get("digest", "")[:16],
        }

    def emotions(self, request: EmotionsRequest) -> EmotionsResponse:
        """The emotions of each turn, from the turns before it and itself."""
        from selfemo.data.dialogue import Utterance
        from selfemo.method.player import likeliest
        from selfemo.method.rewards import marginals

        space = SPACES[request.labels or self.labels]
        turns = [Utterance(speaker=t.speaker, text=t.text) for t in request.turns]
        asked = [len(turns) - 1] if request.last_only else list(range(len(turns)))
        histories = [turns[: t + 1] for t in asked]
        spaces = [space] * len(asked)
        found = []
        for turn, chances_A in zip(asked, self.player.read(histories, spaces), strict=True):
            (of_labels,) = marginals(chances_A[None], space.answer_masks, len(space))
            scores = {label: round(p, 4) for label, p in zip(space.labels, of_labels.tolist(), strict=True)}
            found.append(
                TurnEmotions(
                    turn=turn,
                    speaker=turns[turn].speaker,
                    emotions=list(likeliest(chances_A, space)),
                    scores=dict(sorted(scores.items(), key=lambda s: -s[1])),
                )
            )
        return EmotionsResponse(model=self.name, labels=list(space.labels), turns=found)
