"""A chat in a model's own form, whatever its template knows: a system's turn, roles in any order, text or parts.

Templates come with models, from anyone. They are rendered by transformers in jinja2's sandbox, and what they write is
looked at: a turn that they leave out is an error. Defined here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from selfemo.errors import UserError
from selfemo.logs import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[dict[str, Any]]
"""Each with ``role`` and ``content``, a text."""


_WRITTEN_PARTS = ("'type': 'text'", '"type": "text"')


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """Messages in the form of the model's template, and the beginning of its answer.

    As they are, if the template takes them. Else with neighbours of one role as one turn; else with the system's text
    before the first user's as well; else with texts as lists of parts.

    Args:
        tokenizer: With a chat template.
        messages: Of the roles ``system``, ``user`` and ``assistant``.

    Raises:
        UserError: If the template takes none of these, in its own words.
    """
    said = ""
    for form in _forms(messages):
        try:
            text = str(
                tokenizer.apply_chat_template(form, tokenize=False, add_generation_prompt=True, enable_thinking=False)
            )
        except Exception as error:  # a template can raise anything, in its own words
            said = said or printable(str(error).strip().partition("\n")[0]) or type(error).__name__
            continue
        if _holds(text, messages):
            return text
        said = said or "it leaves out some of what is said"
    raise UserError(
        f"the chat template cannot be used: {said}",
        where=str(tokenizer.name_or_path),
        fix="use an instruction-tuned model whose template takes texts of a user and an assistant",
    )


def folded(messages: Messages) -> list[dict[str, Any]]:
    """The same without a system's turns: their text comes before the next user's."""
    found: list[dict[str, Any]] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        found.append({"role": role, "content": message["content"]})
    return merged(found)


def merged(messages: Messages) -> list[dict[str, Any]]:
    """The same with neighbours of one role as one turn, separated by an empty line."""
    found: list[dict[str, Any]] = []
    for message in messages:
        if found and found[-1]["role"] == message["role"]:
            found[-1]["content"] += f"\n\n{message['content']}"
        else:
            found.append(dict(message))
    return found


def _forms(messages: Messages) -> Iterator[list[dict[str, Any]]]:
    for form in (list(messages), merged(messages), folded(messages)):
        yield form
    for form in (merged(messages), folded(messages)):
        yield [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in form]


def _holds(text: str, messages: Messages) -> bool:
    """Whether a text holds what every message says; templates trim it, and some move a system's text.

    And not a list of parts as Python or JSON writes it, where a template takes none.
    """
    words = [str(message["content"]) for message in messages]
    if any(text.count(mark) > sum(word.count(mark) for word in words) for mark in _WRITTEN_PARTS):
        return False
    said = Counter(word.strip() for word in words)
    return all(text.count(one) >= count for one, count in said.items() if one)
