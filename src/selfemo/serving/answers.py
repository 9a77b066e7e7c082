"""From a request that was let in to its answer: a place, a prompt, the engine's work, the form of the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from selfemo.data.dialogue import Utterance
from selfemo.policy.stepping import LikelihoodAsk, LikelihoodsFound
from selfemo.serving.chat import Chat
from selfemo.serving.collect import Collector
from selfemo.serving.labels import Form, Unknown, form_of, space_named
from selfemo.serving.limits import Limits
from selfemo.serving.record import RequestRecord
from selfemo.serving.scheduler import Scheduler, Work
from selfemo.serving.schema import ChatRequest, EmotionsRequest, EmotionsResponse, EmotionsUsage, dialogue_of
from selfemo.serving.service import Service
from selfemo.serving.sessions import Sessions

T = TypeVar("T")


class Answers:
    """Answers of one service.

    Args:
        service: What answers.
        scheduler: Where its engine works.
        limits: Of the server.
        collector: Keeps the conversations whose clients agree; None keeps none.
    """

    def __init__(
        self, service: Service, scheduler: Scheduler, limits: Limits, collector: Collector | None = None
    ) -> None:
        self.service, self.scheduler, self.collector = service, scheduler, collector
        self.sessions = Sessions(lambda turns: service.player.prompter.window(turns), limits.sessions)
        # Prompts are made beside the event loop, which a long one would keep from answering probes.
        self._maker = ThreadPoolExecutor(1, "prompts")

    async def _made(self, make: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._maker, make)

    async def chat(self, asked: ChatRequest, record: RequestRecord, receive: Receive) -> dict[str, Any] | Response:
        """See OpenAI's chat completions.

        Raises:
            HTTPException: If there is no answer.
            ValueError: If the request cannot be answered.
        """
        form = (
            form_of(asked.response_format, self.service.labels, self.service.spaces) if asked.response_format else None
        )
        if asked.top_logprobs and not self.scheduler.stepper.tops:
            raise HTTPException(400, "top_logprobs is not supported by this engine; logprobs is")
        if form is not None:
            said = await self._in_form(asked, form, record, receive)
            self._keep(asked, form.space.name, record)
            return said
        work = self.scheduler.place()
        try:
            ask = await self._made(lambda: self.service.chat(asked, record.space))
        except BaseException:
            work.close()
            raise
        chat = Chat(self.service, asked, record)
        work.begin(ask)
        if asked.stream:
            self._keep(asked, self.service.labels, record)
            return _Stream(chat.streamed(work, ask), work)
        answer: dict[str, Any] = await work.unless_left(chat.whole(work, ask), receive)
        self._keep(asked, self.service.labels, record)
        return answer

    def _keep(self, asked: ChatRequest, labels: str, record: RequestRecord) -> None:
        if self.collector is not None:
            self.collector.keep(record, labels, dialogue_of(asked.messages))

    async def _in_form(
        self, asked: ChatRequest, form: Form, record: RequestRecord, receive: Receive
    ) -> dict[str, Any] | Response:
        """A chat whose answer is JSON: the likeliest label set, exactly, of the last message."""
        if asked.logprobs or asked.n > 1:
            raise Unknown(
                f"{'logprobs' if asked.logprobs else 'n'}: not with a label set as the answer: it is not drawn"
            )
        history = dialogue_of(asked.messages)
        if not history:
            raise Unknown("messages: there is none whose emotions could be read")
        ask, likelihoods = await self._read([history], form.space, record, receive)
        text = json.dumps(self.service.form(form, likelihoods[0]), ensure_ascii=False)
        chat = Chat(self.service, asked, record)
        prompt = sum(map(len, ask.prompts))
        details = {"prompt_tokens_details": {"cached_tokens": ask.reused}}
        usage = {"prompt_tokens": prompt, "completion_tokens": 0, "total_tokens": prompt, **details}
        if asked.stream:
            return StreamingResponse(chat.said([text], usage), media_type="text/event-stream")
        return chat.completion([text], usage)

    async def emotions(self, asked: EmotionsRequest, record: RequestRecord, receive: Receive) -> EmotionsResponse:
        """See ``/v1/emotions``.

        Raises:
            HTTPException: If there is no answer.
            ValueError: If the request cannot be answered.
        """
        label_space = space_named(asked.labels or self.service.labels, self.service.spaces)
        turns = [Utterance(speaker=t.speaker, text=t.text) for t in asked.turns]
        session = None
        earlier: list[Utterance] = []
        before, agreed = 0, True
        undo: Callable[[], None] = _nothing
        work = self.scheduler.place()
        try:
            if asked.session is not None:
                name = None if asked.session is True else asked.session
                session = self.sessions.find(record.space, name, asked.after)
                earlier, before, agreed = list(session.turns), session.count, session.agreed
                undo = self.sessions.remember(record.space, session, turns, record.consents)
            first = len(turns) - 1 if asked.last_only else 0
            histories = [[*earlier, *turns[: t + 1]] for t in range(first, len(turns))]
            _, likelihoods = await self._read(histories, label_space, record, receive, work)
        except BaseException:
            undo()
            raise
        finally:
            work.close()
        numbers = range(before + first, before + len(turns))
        read = self.service.emotions(numbers, histories, label_space, likelihoods)
        # Not if its first turns are forgotten, or some came with requests whose clients had not agreed.
        if self.collector is not None and before == len(earlier) and agreed:
            named = session.name if session else ""
            self.collector.keep(record, label_space.name, [*earlier, *turns], conversation=named, read=read)
        return EmotionsResponse(
            model=self.service.name,
            labels=list(label_space.labels),
            turns=read,
            usage=EmotionsUsage(prompt_tokens=record.prompt, cached_tokens=record.reused),
            session=session.name if session else None,
        )

    async def _read(
        self,
        histories: list[list[Utterance]],
        label_space: Any,
        record: RequestRecord,
        receive: Receive,
        work: Work | None = None,
    ) -> tuple[LikelihoodAsk, tuple[tuple[float, ...], ...]]:
        """Exact log-likelihoods of all answers for the last turn of each history."""
        work = work or self.scheduler.place()
        try:
            ask = await self._made(lambda: self.service.reading(histories, label_space, record.space))
        except BaseException:
            work.close()
            raise
        work.begin(ask)
        likelihoods = await work.unless_left(_likelihoods(work), receive)
        record.tokens(sum(map(len, ask.prompts)), ask.reused, 0)
        return ask, likelihoods


def _nothing() -> None:
    """There is nothing to take back."""


async def _likelihoods(work: Work) -> tuple[tuple[float, ...], ...]:
    async for events in work.events():
        for event in events:
            if isinstance(event, LikelihoodsFound):
                return event.log_likelihoods
    raise AssertionError("events go on until the likelihoods are found")


class _Stream(StreamingResponse):
    """A stream that lets its work go however it ends: also if its client left before it began."""

    def __init__(self, content: AsyncIterator[str], work: Work) -> None:
        super().__init__(content, media_type="text/event-stream", headers={"cache-control": "no-store"})
        self.work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.work.close()
