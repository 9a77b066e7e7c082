"""The two tasks as chats (method.md, Tasks); :mod:`selfemo.method.parsing` reads the answers.

Every prompt is: a head that all prompts of a corpus share, the history one line a turn, then the task's
question. The question comes last so that all turns of a dialogue share one trunk of tokens, which the
engines compute once. Cuts between the parts fall after a newline and before a letter, where byte-level BPE
cuts too, so encoding part by part gives the tokens of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from selfemo.data.dialogue import Utterance
from selfemo.data.labels import LabelSpace
from selfemo.data.text import lines, nfc
from selfemo.errors import UserError
from selfemo.method.chat import rendered
from selfemo.method.inner_tokens import InnerTokens
from selfemo.shown import JOINERS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TokenIds = tuple[int, ...]

ANSWER_TOKENS = 16
"""Least room for a label set, and the words that separate it from a reply."""

_PREFILL = "Emotion:"
_SLOT = "SELFEMO-DIALOGUE-SLOT"
_MAX_CHARS = 600
"""Longest utterance in a prompt: one runaway line must not fill the context."""


class Prompter:
    """Builds token ids for both tasks with one tokenizer.

    Args:
        tokenizer: With a chat template.
        history_turns: Most turns of history in a prompt.

    Attributes:
        READ, REPLY: What the two tasks ask; `benchmarks/rounds.py` tries other words.
    """

    READ = "Which emotions does {speaker} express in the last line?"
    REPLY = "Which emotions does {speaker} express next, and what is the reply?"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, history_turns: int = 24) -> None:
        self.tokenizer, self.history_turns = tokenizer, history_turns
        self._markers = _markers(tokenizer)
        self._inner = InnerTokens(tokenizer)
        self._nothing = _without(self._markers, "...").strip()
        self._encode = lru_cache(maxsize=65536)(self._inner)
        self._frame = lru_cache(maxsize=None)(self._frame_uncached)
        self._room = lru_cache(maxsize=None)(self._room_uncached)

    def check(self) -> Prompter:
        """This, if the tokenizer's chat template can be used.

        Raises:
            UserError: If not.
        """
        self._frame(("a",), ())
        return self

    def understanding(self, history: Sequence[Utterance], space: LabelSpace) -> TokenIds:
        """Which emotions does the speaker of the last turn express? Answered by a label set."""
        described = tuple(sorted(space.descriptions.items(), key=lambda item: space.index[item[0]]))
        question = self.READ.format(speaker=self.neutralise(history[-1].speaker))
        return self._prompt(history, space, question, described)

    def expression(self, history: Sequence[Utterance], role: str, space: LabelSpace) -> TokenIds:
        """What does ``role`` say next, and with which emotions? Answered by a label set, then the reply."""
        return self._prompt(history, space, self.REPLY.format(speaker=self.neutralise(role)))

    def answer(self, labels: Sequence[str], reply: str | None = None) -> TokenIds:
        """The completion that a perfect model would write, end of turn included."""
        text = " " + ", ".join(labels)
        if reply is not None:
            text += f"\nReply: {self.neutralise(reply)}"
        return (*self._encode(text), int(self.tokenizer.eos_token_id))

    def room(self, spaces: Iterable[LabelSpace]) -> int:
        """Most tokens of a label set in an answer, and of what separates it from a reply: of the longest one allowed.

        A label is few tokens in English, and can be twenty in another script.
        """
        return max((self._room(space.answers) for space in spaces), default=ANSWER_TOKENS)

    def _room_uncached(self, answers: tuple[tuple[str, ...], ...]) -> int:
        longest = max(len(self._encode(f" {', '.join(labels)}\nReply:")) for labels in answers)
        return max(ANSWER_TOKENS, longest + 2)

    def declared(self, labels: Sequence[str], reply: str) -> tuple[TokenIds, TokenIds]:
        """The completion of an expression in two parts: what declares the emotions, and the reply that follows.

        Together they are :meth:`answer`. A token that holds the end of the one and the beginning of the other, as some
        tokenizers make of a colon and a space, is of the first.
        """
        before = f" {', '.join(labels)}\nReply:"
        text = f"{before} {self.neutralise(reply)}"
        whole = self._encode(text)
        starts = self._inner.starts(text)
        cut = next((i for i, start in enumerate(starts) if start >= len(before)), len(whole))
        return whole[:cut], (*whole[cut:], int(self.tokenizer.eos_token_id))

    def neutralise(self, text: str, most: int = _MAX_CHARS) -> str:
        """Dialogue text as data: one line, no control characters, no marker of the chat template.

        Corpora and models write the text; nothing in it may open a turn, end one, or switch roles.
        """
        text = nfc(text)
        text = "".join(c if c.isprintable() or c in JOINERS else " " for c in text)
        text = " ".join(text.split())[:most]
        text = re.sub(r"<\s*\|", "< ", text).replace("|>", " >")
        return _without(self._markers, text).strip(f" {JOINERS}") or self._nothing

    def neutralise_lines(self, text: str) -> str:
        """The same for text of many lines, such as a chat's message: its lines stay lines."""
        return "\n".join(self.neutralise(line, len(line)) if line.strip() else "" for line in lines(text))

    def window(self, history: Sequence[Utterance]) -> Sequence[Utterance]:
        """The turns of history that a prompt shows.

        The start moves in blocks rather than turn by turn, so that neighbouring turns of a long dialogue
        still share a trunk.
        """
        return self.past(history, len(history))

    def past(self, turns: Sequence[Utterance], end: int, most: int | None = None) -> Sequence[Utterance]:
        """The window of ``turns[:end]``, or of the last ``most`` of them, at the cost of the window alone.

        It begins a whole number of blocks after the first turn. So it can stand for the whole history, whatever is
        said next: the window of the two, each followed by the same turns, is the same.
        """
        first = 0 if most is None else max(0, end - most)
        return turns[first + self.unseen(end - first) : end]

    def unseen(self, turns: int) -> int:
        """How many of so many turns a prompt does not show, from the first on: whole blocks."""
        block = max(1, self.history_turns // 3)
        return max(0, -(-(turns - self.history_turns) // block) * block)

    def _prompt(
        self,
        history: Sequence[Utterance],
        space: LabelSpace,
        question: str,
        described: tuple[tuple[str, str], ...] = (),
    ) -> TokenIds:
        head, tail = self._frame(space.labels, described)
        ids = list(head)
        for turn in self.window(history):
            ids += self._encode(f"{self.neutralise(turn.speaker)}: {self.neutralise(turn.text)}\n")
        return (*ids, *self._encode(question), *tail)

    def _frame_uncached(
        self, labels: tuple[str, ...], described: tuple[tuple[str, str], ...]
    ) -> tuple[TokenIds, TokenIds]:
        if marked := next((label for label in labels if self.neutralise(label) != label), None):
            raise UserError(
                f"the label {marked!r} holds a marker of the model's chat template",
                where="labels",
                fix="write it another way",
            )
        system = f"You follow a conversation. Emotions: {', '.join(labels)}."
        system += "".join(f"\n- {label}: {self.neutralise(what)}" for label, what in described)
        text = rendered(self.tokenizer, [{"role": "system", "content": system}, {"role": "user", "content": _SLOT}])
        if text.count(_SLOT) > 1:
            raise UserError("the chat template repeats what a user says", where=str(self.tokenizer.name_or_path))
        head, _, tail = text.partition(_SLOT)
        return tuple(self.tokenizer(head, add_special_tokens=False)["input_ids"]), self._encode(tail + _PREFILL)


def _markers(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What dialogue text must not hold, longest first: the tokenizer's special and added tokens.

    Of tokens of one character only special ones count that may open or end a turn: an added ``!``, or one that pads,
    is what people write.
    """
    special = set(tokenizer.all_special_tokens)
    added = {*special, *tokenizer.get_added_vocab()}
    harmless = {tokenizer.pad_token, tokenizer.unk_token} - {tokenizer.eos_token}
    found = {t for t in added if not t.isspace() and (len(t) > 1 or t in special - harmless)}
    return sorted(found - {""}, key=lambda t: (-len(t), t))


def _without(markers: Sequence[str], text: str) -> str:
    """A text with every marker in it broken, by a space between two of its letters where that is possible.

    Breaking one marker can join another, so this is repeated until none is left. It ends: each break removes
    characters that are no spaces, or keeps them all and parts two that stood side by side.
    """
    while found := [m for m in markers if m in text]:
        for marker in found:
            text = text.replace(marker, _broken(marker))
    return text


def _broken(marker: str) -> str:
    """A marker split at the first two characters that are no spaces; a space where there are none, or no others."""
    at = next((i for i in range(1, len(marker)) if not (marker[i - 1].isspace() or marker[i].isspace())), 0)
    return f"{marker[:at]} {marker[at:]}" if at and len(marker) > 2 else " "
