"""A chat's answer from the tokens that an engine draws, whole or as server-sent events, as OpenAI words both."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from selfemo.policy.stepping import Drawn, SampleAsk
from selfemo.serving.record import RequestRecord
from selfemo.serving.scheduler import Failed, Work
from selfemo.serving.schema import ChatRequest
from selfemo.serving.service import Service
from selfemo.serving.words import Words


@dataclass
class _Token:
    """A token whose text has not been said yet."""

    start: int
    row: dict[str, Any]


class Choice:
    """One completion while it comes.

    Args:
        index: Its number.
        words: Its text.
        logprobs: Whether its tokens are told.
    """

    def __init__(self, index: int, words: Words, logprobs: bool) -> None:
        self.index, self.words, self.logprobs = index, words, logprobs
        self.tokens = 0
        self.reason = ""
        self._unsaid: list[_Token] = []

    def add(self, drawn: Drawn, is_end: bool) -> tuple[str, list[dict[str, Any]]]:
        """Take a token: text that may be said now, and the tokens that it is made of."""
        self.tokens += 1
        start = len(self.words.text)
        if self.logprobs and not is_end:
            self._unsaid.append(_Token(start, self._row(drawn)))
        said = self.words.add(drawn.token, bool(drawn.end))
        if self.words.stopped or drawn.end:
            self.reason = "stop" if self.words.stopped else drawn.end
        whole = bool(drawn.end) and not self.words.stopped
        ready = [t.row for t in self._unsaid if whole or t.start < self.words.said]
        self._unsaid = self._unsaid[len(ready) :]
        return said, ready

    def _row(self, drawn: Drawn) -> dict[str, Any]:
        first = self._token(drawn.token, drawn.logprob)
        return first | {"top_logprobs": [self._token(token, value) for token, value in drawn.top]}

    def _token(self, token: int, value: float) -> dict[str, Any]:
        text = str(self.words.tokenizer.decode([token]))
        return {"token": text, "logprob": value, "bytes": None if "\ufffd" in text else list(text.encode())}


class Chat:
    """The answer to one request.

    Args:
        service: Who answers.
        request: What was asked.
        record: What the access log is told.
    """

    def __init__(self, service: Service, request: ChatRequest, record: RequestRecord) -> None:
        self.request, self.record, self.ends = request, record, service.ends
        tokenizer = service.player.prompter.tokenizer
        self.choices = [Choice(i, Words(tokenizer, request.stops), request.logprobs) for i in range(request.n)]
        self.head = {
            "id": record.answer,
            "created": int(time.time()),
            "model": service.name,
            "system_fingerprint": service.identity.get("digest", "")[:16],
        }

    async def pieces(self, work: Work) -> AsyncIterator[tuple[Choice, str, list[dict[str, Any]]]]:
        """What may be said, piece by piece, until all completions are done."""
        left = len(self.choices)
        async for events in work.events():
            for event in events:
                if not isinstance(event, Drawn) or self.choices[event.index].reason:
                    continue
                choice = self.choices[event.index]
                said, tokens = choice.add(event, event.token in self.ends)
                yield choice, said, tokens
                if choice.reason:
                    left -= 1
                    if not event.end:
                        work.stop(event.index)
            if not left:
                return

    def usage(self, ask: SampleAsk) -> dict[str, Any]:
        """Tokens of the prompt and of all answers."""
        prompt, written = len(ask.prompt), sum(c.tokens for c in self.choices)
        self.record.tokens(prompt, ask.reused, written)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
            "prompt_tokens_details": {"cached_tokens": ask.reused},
        }

    async def whole(self, work: Work, ask: SampleAsk) -> dict[str, Any]:
        """The answer in one piece."""
        tokens: list[list[dict[str, Any]]] = [[] for _ in self.choices]
        async for choice, _, more in self.pieces(work):
            tokens[choice.index] += more
        return self.completion([c.words.text for c in self.choices], self.usage(ask), tokens)

    def completion(
        self, texts: Sequence[str], usage: dict[str, Any], tokens: Sequence[list[dict[str, Any]]] = ()
    ) -> dict[str, Any]:
        """An answer of these texts."""
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "finish_reason": self.choices[i].reason or "stop",
                "logprobs": {"content": tokens[i], "refusal": None} if self.request.logprobs else None,
            }
            for i, text in enumerate(texts)
        ]
        return {**self.head, "object": "chat.completion", "choices": choices, "usage": usage}

    async def streamed(self, work: Work, ask: SampleAsk) -> AsyncIterator[str]:
        """The answer as events: who speaks, pieces of text, why each ended, what it cost."""
        try:
            for choice in self.choices:
                yield self._event(choice, {"role": "assistant", "content": ""})
            async for choice, said, tokens in self.pieces(work):
                if said or tokens:
                    yield self._event(choice, {"content": said}, tokens)
                if choice.reason:
                    yield self._event(choice, {}, reason=choice.reason)
            usage = self.usage(ask)
            if self._wants_usage:
                yield _line({**self.head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        except Failed as failed:
            status = failed.refusal.status_code
            kind = "server_error"
            yield _line({"error": {"message": str(failed.refusal.detail), "type": kind, "code": status}})
            return
        yield "data: [DONE]\n\n"

    async def said(self, texts: Sequence[str], usage: dict[str, Any]) -> AsyncIterator[str]:
        """An answer that is there, as events."""
        for choice, text in zip(self.choices, texts, strict=True):
            yield self._event(choice, {"role": "assistant", "content": ""})
            yield self._event(choice, {"content": text})
            yield self._event(choice, {}, reason="stop")
        if self._wants_usage:
            yield _line({**self.head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        yield "data: [DONE]\n\n"

    @property
    def _wants_usage(self) -> bool:
        return self.request.stream_options is not None and self.request.stream_options.include_usage

    def _event(
        self, choice: Choice, delta: dict[str, Any], tokens: list[dict[str, Any]] | None = None, reason: str = ""
    ) -> str:
        row: dict[str, Any] = {"index": choice.index, "delta": delta, "finish_reason": reason or None}
        row["logprobs"] = {"content": tokens, "refusal": None} if self.request.logprobs and tokens else None
        usage = {"usage": None} if self._wants_usage else {}
        return _line({**self.head, "object": "chat.completion.chunk", "choices": [row], **usage})


def _line(row: dict[str, Any]) -> str:
    return f"data: {json.dumps(row)}\n\n"
