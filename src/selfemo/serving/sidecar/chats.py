"""Which of the requests that pass is a chat whose client agrees, and what of it is kept."""

from __future__ import annotations

import secrets

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Scope

from selfemo.serving.collect import Collector
from selfemo.serving.limits import CHATS
from selfemo.serving.record import RequestRecord
from selfemo.serving.schema import Message, dialogue_of


class _Asked(BaseModel):
    """Of a chat's request, what was said: as ``selfemo serve`` takes it."""

    model_config = ConfigDict(extra="ignore")

    messages: list[Message] = Field(min_length=1, max_length=200)


class Chats:
    """Keeps chats.

    Args:
        collector: Draws, masks and writes them.
        labels: Name of the label space that they are to be labelled with.
    """

    def __init__(self, collector: Collector, labels: str) -> None:
        self.collector, self.labels = collector, labels

    def wanted(self, scope: Scope, record: RequestRecord) -> bool:
        """Whether a request may be kept, by its head."""
        return record.consents and scope["method"] == "POST" and scope["path"] in CHATS

    def keep(self, record: RequestRecord, body: bytes) -> None:
        """Take a chat that was answered, unless it has more than text, or more of it than ``selfemo serve`` takes.

        Args:
            record: Of the request, which is told the conversation's id.
            body: Of the request; empty if it is not to be kept.
        """
        try:
            asked = _Asked.model_validate_json(body)
        except ValidationError:
            return
        record.answer = secrets.token_hex(12)  # the answer has an id of its own, which is told after the head
        self.collector.keep(record, self.labels, dialogue_of(asked.messages))
