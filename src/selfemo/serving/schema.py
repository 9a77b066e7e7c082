"""What the server is asked and answers: OpenAI's chat completions as far as they go here, and ``/v1/emotions``.

Bounds are part of the schema, so that one request cannot take the machine. Unknown fields of OpenAI's are let pass, as
clients send many; those that would change the answer and are not supported are refused.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_CHARS = 8_000
MAX_TOKENS = 1_024


class Message(BaseModel):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=MAX_CHARS)


class ChatRequest(BaseModel):
    """``POST /v1/chat/completions``."""

    model_config = ConfigDict(extra="allow")

    model: str = ""
    messages: list[Message] = Field(min_length=1, max_length=200)
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1, le=16)
    seed: int | None = Field(None, ge=0)
    stop: str | list[str] | None = None
    stream: bool = False

    @model_validator(mode="after")
    def _supported(self) -> Self:
        for name in ("tools", "functions", "response_format", "logit_bias", "logprobs"):
            if (self.model_extra or {}).get(name):
                raise ValueError(f"{name} is not supported")
        return self

    @property
    def room(self) -> int:
        """Most tokens of an answer."""
        return self.max_completion_tokens or self.max_tokens or 256

    @property
    def stops(self) -> list[str]:
        """Texts at which an answer is cut."""
        listed = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [s for s in listed if s]


class Turn(BaseModel):
    """One turn of a dialogue."""

    model_config = ConfigDict(extra="forbid")

    speaker: str = Field(min_length=1, max_length=100)
    text: str = Field(max_length=MAX_CHARS)


class EmotionsRequest(BaseModel):
    """``POST /v1/emotions``: a dialogue in."""

    model_config = ConfigDict(extra="forbid")

    turns: list[Turn] = Field(min_length=1, max_length=200)
    labels: str = Field("", max_length=100)
    """Whose labels: a corpus; empty is the one that the policy was gated on."""
    last_only: bool = False
    """Only the last turn, as a conversation goes on."""


class TurnEmotions(BaseModel):
    """What a policy reads in one turn."""

    turn: int
    speaker: str
    emotions: list[str]
    """Its likeliest label set, primary label first, as evaluation scores it."""
    scores: dict[str, float]
    """For each label, how likely it is to be in the policy's answer."""


class EmotionsResponse(BaseModel):
    """Label sets with scores out."""

    model: str
    labels: list[str]
    turns: list[TurnEmotions]
