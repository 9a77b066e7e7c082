"""Turns and dialogues that a person should look at before a model learns from them. Signs, not proof. Defined here."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from selfemo.data.dialogue import Dialogue
from selfemo.data.redaction import Patterns
from selfemo.data.scripts import length

LONG = 300
"""Words from which on a turn is very long: prompts cut what is said long before that."""
EXAMPLES = 5
ONE_LABEL = 4
"""Labelled turns from which on a dialogue of one label is of note."""
MOST_LOOKED_AT = 20_000
"""Turns that are searched for personal data: about a millisecond each."""
_INSTRUCTIONS = re.compile(
    r"\b(?:ignore|disregard|forget)\b.{0,40}\b(?:instructions?|prompts?|rules|above|previous)\b"
    r"|\byou are (?:now|no longer)\b.{0,60}\b(?:assistant|model|ai|mode|dan)\b"
    r"|\b(?:system|developer) prompt\b|\bas an ai (?:language )?model\b"
    r"|<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|^\s*(?:system|assistant)\s*:|###\s*(?:instruction|response)"
    r"|\bignorier\w*\b.{0,40}\banweisung|\bignora\b.{0,40}\binstrucciones|\bignore[sz]?\b.{0,40}\binstructions"
    r"|忽略.{0,20}(?:指令|指示|提示)",
    re.IGNORECASE,
)
_PERSONAL = re.compile(r"@|\d(?:\D?\d){5}|[\w+/-]{20}|passw|pin\b", re.IGNORECASE)

MEANINGS = {
    "empty": "turns without any text",
    "very long": f"turns of {LONG} words or more",
    "no words": "turns of punctuation, digits or symbols alone",
    "control characters": "turns with characters that cannot be seen, other than line ends and joiners",
    "replacement characters": "turns with U+FFFD, or with UTF-8 read as another encoding: the text was garbled before",
    "like instructions": "turns that speak to a model rather than to a person (prompt injection)",
    "personal data": "turns with what redaction would mask: addresses, numbers, keys",
    "speakers with one turn": "dialogues of four turns or more in which somebody speaks once",
    "one label throughout": f"dialogues with {ONE_LABEL} labelled turns or more, all of one label",
}


@dataclass
class Suspicious:
    """What was found.

    Attributes:
        counts: By kind, of :data:`MEANINGS`.
        examples: A few places of each kind: a dialogue's id, and the number of a turn, from 0 on as in a
            correction.
        looked_at: Turns that were searched for personal data.
        kinds: What that would be masked as, and how often.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    looked_at: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, place: str) -> None:
        """Count one, and remember the first few places."""
        self.counts[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(place)


def look(dialogues: Sequence[Dialogue]) -> Suspicious:
    """Look through dialogues."""
    found = Suspicious()
    patterns = Patterns().ready()
    for dialogue in dialogues:
        for number, turn in enumerate(dialogue.turns):
            place = f"{dialogue.id} turn {number}"
            for kind in _kinds(turn.text):
                found.note(kind, place)
            if found.looked_at < MOST_LOOKED_AT:
                found.looked_at += 1
                masked = patterns([turn.text]).counts if _PERSONAL.search(turn.text) else None
                if masked:
                    found.kinds += masked
                    found.note("personal data", place)
        speakers = Counter(turn.speaker for turn in dialogue.turns)
        if len(dialogue.turns) >= 4 and 1 in speakers.values():
            found.note("speakers with one turn", dialogue.id)
        gold = [turn.gold for turn in dialogue.turns if turn.gold]
        if len(gold) >= ONE_LABEL and len(set(gold)) == 1:
            found.note("one label throughout", dialogue.id)
    return found


def _kinds(text: str) -> Iterator[str]:
    if not text.strip():
        yield "empty"
        return
    if length(text) >= LONG:
        yield "very long"
    if not any(c.isalpha() for c in text):
        yield "no words"
    if any((unicodedata.category(c) == "Cc" and c not in "\t\n\r") or c in "\u2028\u2029\u202e" for c in text):
        yield "control characters"
    if "\ufffd" in text or re.search("Ã[\u0080-\u00bf]|â€", text):
        yield "replacement characters"
    if _INSTRUCTIONS.search(text):
        yield "like instructions"
