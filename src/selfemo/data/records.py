"""The rows that travel between steps: rollouts, training samples and predictions, as JSON Lines.

A row names its round, policy, seed dialogue and parents, so any training sample can be traced to the
dialogue and the model that made it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from selfemo.data.dialogue import Utterance
from selfemo.errors import CorruptArtifact

Task = Literal["understanding", "expression"]


class Record(BaseModel):
    """A record: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Posterior = tuple[float, ...]
"""How likely each of a corpus's allowed answers is (``LabelSpace.answers``, in that order); they sum to 1."""


class Candidate(Record):
    """One sampled reply ``(E_j, r_j)`` with what is read in it.

    Attributes:
        text: Raw text of the model.
        labels: ``E_j``, or None if the text is no answer.
        reply: ``r_j``.
        reading: The listeners' mean posterior; they saw the reply and what their view shows of the history, never
            ``E_j``. Empty if there is no reply.
        score: ``x_j``, the expected smoothed IoU of ``E_j`` and what that listener reads who finds least of it.
        confidence: ``c`` of the reading.
    """

    text: str
    labels: tuple[str, ...] | None
    reply: str | None
    reading: Posterior = ()
    score: float = 0.0
    confidence: float = 0.0


class Rollout(Record):
    """One turn of self-play: for a corpus turn what the policy reads in it, for a generated one all that was sampled.

    Attributes:
        history: The turns before, as far back as the policy's prompts show them (``Prompter.window``): prompts made
            of it are those made of the whole.
        gold: Gold labels of the target turn, for targets in a semi-supervised run and for logging
            pseudo-label accuracy; the policy never sees them.
        held_out: Whether the turn is one that the policy is scored on. Its gold says what each voice counts; it is no
            candidate, and nobody learns from it.
        posteriors: Of a corpus turn, by what gave it: a view of the history, named by how many turns it shows, or
            another voice, ``responder`` or ``words`` (``selfemo.method.voices``).
        chosen: Index of the candidate that became the next turn, or None.
        temperature, top_p, seed: Sampling parameters of the candidates; None where nothing is sampled.
    """

    schema_version: Literal["selfemo.rollout/2"] = "selfemo.rollout/2"
    id: str
    round: int
    policy: str
    corpus: str
    dialogue: str
    episode: str | None = None
    task: Task
    history: tuple[Utterance, ...]
    role: str
    gold: tuple[str, ...] | None = None
    held_out: bool = False
    posteriors: dict[str, Posterior] = {}
    candidates: tuple[Candidate, ...] = ()
    chosen: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None


class Sample(Record):
    """One prompt that SELF-GRPO trains on, with its target.

    Attributes:
        target: ``T``: gold, the responder's declared set, or the consensus.
        gold: Whether the target is gold.
        confidence: ``c`` of the posterior; of an expression the mean over the kept replies that declare it.
        consensus: How likely each allowed answer is the target, as the voices come to it. Empty where the target is
            beyond doubt: gold, and what a reply declares.
        posterior: What the other role says of the turn to be understood: of a corpus turn the responder, or the
            recogniser if that was not asked; of a generated one the recogniser. Empty for an expression.
        parents: Ids of the rollouts it comes from.
        reply: For expression, the best of these replies.
    """

    schema_version: Literal["selfemo.sample/2"] = "selfemo.sample/2"
    id: str
    round: int
    policy: str
    corpus: str
    dialogue: str
    task: Task
    history: tuple[Utterance, ...]
    role: str
    target: tuple[str, ...]
    gold: bool
    confidence: float
    consensus: Posterior = ()
    posterior: Posterior = ()
    parents: tuple[str, ...]
    reply: str | None = None


class Outcome(Record):
    """What the filter made of one rollout's candidates, in their order; a corpus turn is one candidate.

    Attributes:
        id: Of the rollout.
        target: Of a corpus turn, what its reading was held against; empty for replies, which declare their own.
        scores: Expected smoothed IoU of what is read in each candidate and its target.
        confidences: Of what is read in each.
        reasons: ``kept``, or the one reason why it was not (``selfemo.method.flywheel.reasons.Reason``, lower case).
    """

    schema_version: Literal["selfemo.outcome/1"] = "selfemo.outcome/1"
    id: str
    target: tuple[str, ...] = ()
    scores: tuple[float, ...]
    confidences: tuple[float, ...]
    reasons: tuple[str, ...]


class Prediction(Record):
    """One held-out turn: gold and predicted sets, primary label first.

    Attributes:
        posterior: What the policy reads in it; the prediction is its likeliest answer. Evaluations of the first form
            have none: a champion of then can still be compared with.
        votes: How its annotators voted, where the corpus kept that.
    """

    schema_version: Literal["selfemo.scored/1", "selfemo.scored/2", "selfemo.scored/3"] = "selfemo.scored/3"
    corpus: str
    dialogue: str
    turn: int
    gold: tuple[str, ...]
    predicted: tuple[str, ...]
    posterior: Posterior = ()
    votes: dict[str, float] | None = None


class Reply(Record):
    """One reply to a held-out prefix, and what was read in it.

    Attributes:
        declared: The emotions the responder meant to express; empty if its answer is none.
        reply: What it said.
        own: The label that the policy itself reads first, if any.
        judge: The label that the reader outside the loop reads, if any.
    """

    schema_version: Literal["selfemo.reply/1"] = "selfemo.reply/1"
    corpus: str
    dialogue: str
    declared: tuple[str, ...] = ()
    reply: str = ""
    own: str | None = None
    judge: str | None = None


R = TypeVar("R", bound=Record)


def write_records(path: Path, rows: Iterable[Record]) -> int:
    """Write rows as gzipped JSON Lines, byte-identical for equal rows; returns how many."""
    count = 0
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as out:
        for row in rows:
            out.write(row.model_dump_json().encode() + b"\n")
            count += 1
    return count


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Read what :func:`write_records` wrote.

    Raises:
        CorruptArtifact: For a line that is not such a row; names file and line. For a file that is not gzip, or ends
            too early.
    """
    number = 1
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                yield kind.model_validate_json(line)
                number += 1
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise CorruptArtifact(f"{field}: {first['msg']}", where=f"{path}:{number}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorruptArtifact(f"not gzip: {error}", where=f"{path}:{number}") from None
