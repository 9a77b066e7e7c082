"""What the server is asked and answers: OpenAI's chat completions as far as they go here, and ``/v1/emotions``.

Bounds are part of the schema, so that one request cannot take the machine. Unknown fields of OpenAI's are let pass, as
clients send many; those that would change the answer and are not supported are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from selfemo.data.dialogue import Utterance

MAX_CHARS = 8_000
MAX_TOKENS = 1_024
"""Of an answer: who asks for more gets so many at most."""
DEFAULT_TOKENS = 256
TURNS = 200
"""That are read in one request."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (0, 1),
    "repeat_penalty": (0, 1),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "top_k": (0, -1),
    "min_p": (0,),
    "typical_p": (0, 1),
    "top_a": (0,),
    "tfs_z": (0, 1),
    "mirostat": (0,),
    "min_tokens": (0,),
    "best_of": (1,),
    "ignore_eos": (False,),
    "use_beam_search": (False,),
    "echo": (False,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "grammar": ("",),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "logits_processors": ([],),
    "allowed_token_ids": ([],),
    "structured_outputs": ({},),
    "json_schema": ({},),
    "chat_template": ("",),
    "chat_template_kwargs": ({},),
    "documents": ([],),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "truncate_prompt_tokens": (-1,),
    "n_predict": (-1,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "smoothing_factor": (0,),
    "top_n_sigma": (0, -1),
    "xtc_probability": (0,),
}
"""Fields that would change an answer, and the values that would not (null is none of them either)."""


def _text(content: Any) -> Any:
    """A message's content as one text: a text, null, or parts that are texts."""
    if content is None:
        return ""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"a part is of type text here, not {str(kind)[:40]!r}")
        texts.append(part["text"])
    return "\n".join(texts)


def _or(default: Any) -> BeforeValidator:
    """Null stands for the default."""
    return BeforeValidator(lambda value: default if value is None else value)


class Message(BaseModel):
    """One message of a chat; of a developer's it makes a system's."""

    role: Annotated[
        Literal["system", "user", "assistant"], BeforeValidator(lambda r: "system" if r == "developer" else r)
    ]
    content: Annotated[str, BeforeValidator(_text), Field(max_length=MAX_CHARS)] = ""
    name: Annotated[str, _or(""), Field(max_length=100)] = ""
    """Who speaks, where the emotions of the last message are asked for."""

    @model_validator(mode="before")
    @classmethod
    def _no_calls(cls, data: Any) -> Any:
        if isinstance(data, dict) and (data.get("tool_calls") or data.get("function_call")):
            raise ValueError("tool_calls is not supported")
        return data


def dialogue_of(messages: Sequence[Message]) -> list[Utterance]:
    """A chat as a dialogue; what a system says is none of it."""
    names = {"user": "User", "assistant": "Assistant"}
    return [Utterance(speaker=m.name or names[m.role], text=m.content) for m in messages if m.role in names]


class StreamOptions(BaseModel):
    """How to stream."""

    include_usage: Annotated[bool, _or(False)] = False


class ChatRequest(BaseModel):
    """``POST /v1/chat/completions``."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, _or("")] = ""
    messages: list[Message] = Field(min_length=1, max_length=200)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: Annotated[float, _or(1.0), Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, _or(1.0), Field(gt=0, le=1)] = 1.0
    n: Annotated[int, _or(1), Field(ge=1, le=16)] = 1
    seed: int | None = None
    """Null or less than 0 is one at random."""
    stop: Annotated[
        list[Annotated[str, Field(max_length=200)]],
        BeforeValidator(lambda stop: [stop] if isinstance(stop, str) else stop or []),
        Field(max_length=4),
    ] = []
    stream: Annotated[bool, _or(False)] = False
    stream_options: StreamOptions | None = None
    logprobs: Annotated[bool, _or(False)] = False
    top_logprobs: Annotated[int, _or(0), Field(ge=0, le=20)] = 0
    response_format: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _supported(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            if name in NEUTRAL and value is not None and value not in NEUTRAL[name]:
                raise ValueError(f"{name} is not supported")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs wants logprobs: true")
        return self

    @property
    def room(self) -> int:
        """Most tokens of an answer."""
        return min(MAX_TOKENS, self.max_completion_tokens or self.max_tokens or DEFAULT_TOKENS)

    @property
    def stops(self) -> list[str]:
        """Texts at which an answer is cut."""
        return [text for text in self.stop if text]


class Turn(BaseModel):
    """One turn of a dialogue."""

    model_config = ConfigDict(extra="forbid")

    speaker: str = Field(min_length=1, max_length=100)
    text: str = Field(max_length=MAX_CHARS)


class EmotionsRequest(BaseModel):
    """``POST /v1/emotions``: a dialogue in, or the next turns of one that goes on."""

    model_config = ConfigDict(extra="forbid")

    turns: list[Turn] = Field(min_length=1, max_length=2_000)
    labels: str = Field("", max_length=100)
    """Whose labels: a corpus; empty is the one that the policy was gated on."""
    last_only: bool = False
    """Only the last turn, as a conversation goes on."""
    session: Literal[True] | Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """The conversation that these turns belong to: a name of the client's, or the server's; true begins one."""
    after: int | None = Field(None, ge=0)
    """How many turns the session has to hold; with another number nothing is read."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if not self.last_only and len(self.turns) > TURNS:
            raise ValueError(f"turns: {TURNS} are read at most; with last_only there may be more")
        if self.after is not None and self.session is None:
            raise ValueError("after: there is no session")
        return self


class TurnEmotions(BaseModel):
    """What a policy reads in one turn."""

    turn: int
    """Its number; of a session, counted from its first turn."""
    speaker: str
    emotions: list[str]
    """Its likeliest label set, primary label first, as evaluation scores it."""
    scores: dict[str, float]
    """For each label, how likely it is to be in the policy's answer."""


class EmotionsUsage(BaseModel):
    """What an answer cost, in tokens of prompts and answers."""

    prompt_tokens: int
    cached_tokens: int
    """Of the prompts, those that were there already."""


class EmotionsResponse(BaseModel):
    """Label sets with scores out."""

    model: str
    labels: list[str]
    turns: list[TurnEmotions]
    usage: EmotionsUsage
    session: str | None = None
    """To give with the next turns."""
