"""The one data model of the project, Dialogue and Utterance, and its JSON Lines form."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from selfemo.errors import UserError

SCHEMA = "selfemo.dialogue/1"


def _writable(text: str) -> str:
    """Text that a file can hold: JSON can spell halves of surrogate pairs."""
    if not text.isascii():
        text.encode("utf-8")  # a UnicodeEncodeError is a ValueError
    return text


Text = Annotated[str, AfterValidator(_writable)]


class Utterance(BaseModel):
    """One turn ``u_t`` of a dialogue.

    Attributes:
        speaker: Who speaks.
        text: What is said. Data, never an instruction: prompts neutralise it.
        gold: Gold emotions, primary label first; None where the corpus has no usable label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    speaker: Text = Field(min_length=1)
    text: Text
    gold: tuple[Text, ...] | None = None


class Dialogue(BaseModel):
    """Turns ``u_1..u_T`` of one conversation.

    Attributes:
        id: Unique within the corpus, stable from one preparation to the next: ``corpus/split/key``.
        corpus: A key of :data:`selfemo.data.corpora.table.SPACES`.
        split: ``train``, ``dev`` or ``test``.
        turns: In order; never empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Text = Field(min_length=1)
    corpus: Text
    split: Text
    turns: tuple[Utterance, ...] = Field(min_length=1)

    def hidden(self) -> Dialogue:
        """The same dialogue with no gold: what self-play is shown."""
        return self.model_copy(update={"turns": tuple(u.model_copy(update={"gold": None}) for u in self.turns)})


def head(dialogues: Iterable[Dialogue], count: int | None) -> list[Dialogue]:
    """The first ``count`` dialogues of each corpus."""
    seen: Counter[str] = Counter()
    head = []
    for dialogue in dialogues:
        seen[dialogue.corpus] += 1
        if count is None or seen[dialogue.corpus] <= count:
            head.append(dialogue)
    return head


def gold_counts(dialogues: Iterable[Dialogue]) -> dict[str, Counter[str]]:
    """How often each emotion is a turn's primary one, by corpus."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for dialogue in dialogues:
        found[dialogue.corpus].update(turn.gold[0] for turn in dialogue.turns if turn.gold)
    return found


def write_jsonl(path: Path, dialogues: Iterable[Dialogue]) -> int:
    """Write dialogues one a line, with the schema version; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for dialogue in dialogues:
            row = {"schema": SCHEMA, **dialogue.model_dump(mode="json")}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[Dialogue]:
    """Read what :func:`write_jsonl` wrote.

    Raises:
        UserError: For a row that is not a dialogue of this schema; names file and line.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path}:{number}"
            try:
                row = json.loads(line.decode("utf-8"))
                schema = row.pop("schema", None) if isinstance(row, dict) else None
                if schema != SCHEMA:
                    raise UserError(
                        f"schema is {schema!r}, not {SCHEMA!r}", where=where, fix="run `selfemo data prepare` again"
                    )
                yield Dialogue.model_validate(row)
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"]))
                raise UserError(f"{field}: {first['msg']}", where=where) from None
            except UnicodeDecodeError as error:
                raise UserError(f"not UTF-8 (byte {error.start + 1})", where=where) from None
            except json.JSONDecodeError as error:
                raise UserError(f"not JSON: {error.msg} (column {error.colno})", where=where) from None
            except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists thousands deep
                raise UserError(f"not JSON that can be read: {error}", where=where) from None
