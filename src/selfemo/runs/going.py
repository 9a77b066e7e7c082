"""A run as it goes: its rounds and steps in their order, what each does, and what it waits for.

The same whether it is read from the events of a run on this machine, from a cluster's Workflow, or from what is
published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from selfemo.registry.rounds import RoundRow
from selfemo.runs.state import RunState, RunStatus


class Shown(NamedTuple):
    """How a step is shown, and in which rounds it is.

    Attributes:
        title: Its name for people.
        first: Whether round 0 has it.
        later: Whether every other round has it.
        sharded: Whether it is done in shards.
        head: Of its column, where rounds are a table; the title if empty.
    """

    title: str
    first: bool = False
    later: bool = False
    sharded: bool = False
    head: str = ""


SHOWN = {
    "prepare": Shown("Prepare", first=True),
    "warmup": Shown("Warm-up", first=True),
    "generate": Shown("Self-play", later=True, sharded=True, head="play"),
    "filter": Shown("Filter", later=True),
    "train": Shown("SELF-GRPO", later=True, head="learn"),
    "evaluate": Shown("Evaluate", first=True, later=True, sharded=True),
    "decide": Shown("Decide", first=True, later=True),
}
"""Steps that have a pod of their own, in the order of the pipeline."""
INNER = {"gather": "filter", "score": "decide", "feedback": "prepare"}
"""Steps that have no pod of their own, and the step that they run at the beginning of."""
TITLES = {step: shown.title for step, shown in SHOWN.items()}
BEFORE = tuple(step for step, shown in SHOWN.items() if shown.first)
"""Steps of round 0."""
ROUND = tuple(step for step, shown in SHOWN.items() if shown.later)
"""Steps of every other round."""
SHARDED = tuple(step for step, shown in SHOWN.items() if shown.sharded)


class PieceState(StrEnum):
    """What may become of a step, or of a shard of one."""

    WAITS = "waits"
    """It was not begun yet."""
    RUNS = "runs"
    """Its process has begun, and has not ended."""
    DONE = "done"
    """It was run in this attempt, and has published its result."""
    THERE = "there already"
    """Its result was published before this attempt, so nothing had to be run."""
    FAILED = "failed"
    """It ended with an error."""
    CUT_OFF = "cut off"
    """It was running when the run ended."""
    NEVER = "not needed"
    """It will not be begun: the loop, or the run, ended before it."""


OVER = (PieceState.DONE, PieceState.THERE)
"""States of what has a result."""


@dataclass
class UnitProgress:
    """Units that a step counts: how many are done, of how many, in how many seconds, how many of them before these."""

    name: str
    done: int
    total: int
    seconds: float
    before: int = 0

    @property
    def rate(self) -> float | None:
        """Units a second; None before the first."""
        now = self.done - self.before
        return now / self.seconds if now > 0 and self.seconds > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at that rate; None before it is known."""
        return None if self.rate is None else (self.total - self.done) / self.rate


@dataclass
class StepProgress:
    """A step of a round, or a shard of one.

    Attributes:
        step: A key of :data:`TITLES`.
        round: Its number.
        shard: Counted from 0; None for a step without shards.
        state: What became of it.
        began, ended: Seconds of Unix time; None where that is not known.
        tries: How often it was begun.
        work: What it counts just now.
        said: Why it failed, or what it waits for, where somebody says so.
        uri: What it published.
        pid: Of its process on this machine.
    """

    step: str
    round: int
    shard: int | None = None
    state: PieceState = PieceState.WAITS
    began: float | None = None
    ended: float | None = None
    tries: int = 0
    work: UnitProgress | None = None
    said: str = ""
    uri: str = ""
    pid: int = 0

    def label(self, shards: int) -> str:
        """Its name, such as ``round 1: Self-play, shard 1 of 2``."""
        shard = f", shard {self.shard + 1} of {shards}" if self.shard is not None and shards > 1 else ""
        return f"round {self.round}: {TITLES[self.step]}{shard}"

    def seconds(self, now: float) -> float | None:
        """How long it took, or has taken so far; None where that is not known."""
        if self.began is None:
            return None
        return max(0.0, (now if self.ended is None else self.ended) - self.began)


@dataclass
class Stage:
    """All shards of a step of a round, which run beside each other, or the step itself."""

    step: str
    round: int
    pieces: list[StepProgress]

    @property
    def state(self) -> PieceState:
        """Of all of them together."""
        states = [piece.state for piece in self.pieces]
        for state in (PieceState.FAILED, PieceState.CUT_OFF, PieceState.RUNS):
            if state in states:
                return state
        if all(state in (*OVER, PieceState.NEVER) for state in states):
            return next(state for state in (PieceState.DONE, PieceState.THERE, PieceState.NEVER) if state in states)
        return PieceState.RUNS if any(state in OVER for state in states) else states[0]

    @property
    def seconds(self) -> float | None:
        """From the first's beginning to the last's end; None before that, or where it was not done here."""
        if self.state != PieceState.DONE or any(
            p.state == PieceState.DONE and (p.began is None or p.ended is None) for p in self.pieces
        ):
            return None
        done = [p for p in self.pieces if p.state == PieceState.DONE]
        return max(p.ended or 0.0 for p in done) - min(p.began or 0.0 for p in done)

    @property
    def began(self) -> float | None:
        """When its first piece began."""
        return min((p.began for p in self.pieces if p.began is not None), default=None)


@dataclass
class Going:
    """A run as it goes.

    Attributes:
        name: Of the run.
        what: The model and the corpora, for people.
        rounds: That it may have, round 0 not counted.
        shards: Of self-play and evaluation.
        state: What became of it.
        began, ended: Of its last attempt, in seconds of Unix time; None where that is not known.
        pieces: By round, step and shard.
        rows: Of decided rounds.
        samples: URI of the last samples that the filter accepted, and the round; empty before the first.
        notes: What cannot be told, and why.
    """

    name: str
    what: str = ""
    rounds: int = 0
    shards: int = 1
    state: RunState = field(default_factory=lambda: RunState(RunStatus.OPEN))
    began: float | None = None
    ended: float | None = None
    pieces: dict[tuple[int, str, int | None], StepProgress] = field(default_factory=dict)
    rows: dict[int, RoundRow] = field(default_factory=dict)
    samples: tuple[str, int] = ("", 0)
    notes: list[str] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state.word not in (RunStatus.RUNNING, RunStatus.OPEN)

    def piece(self, step: str, round: int, shard: int | None = None) -> StepProgress:
        """The step or shard of a place, made if need be."""
        return self.pieces.setdefault((round, step, shard), StepProgress(step, round, shard))

    def plan(self) -> None:
        """Make all pieces that there may be: what is not begun yet waits."""
        for round in range(self.rounds + 1):
            for step in ROUND if round else BEFORE:
                for shard in range(self.shards) if step in SHARDED else (None,):
                    self.piece(step, round, shard)

    def stages(self) -> Iterator[Stage]:
        """Stages in the order of the pipeline."""
        for round in sorted({place[0] for place in self.pieces}):
            for step in ROUND if round else BEFORE:
                found = [p for (r, s, _), p in self.pieces.items() if (r, s) == (round, step)]
                if found:
                    yield Stage(step, round, sorted(found, key=lambda p: p.shard or 0))

    def decided(self, round: int, result: Mapping[str, Any]) -> None:
        """Take in what a decision said; rounds that are not needed any more are told as that."""
        self.rows[round] = RoundRow.from_dict(result["row"])
        if not result.get("go_on", True):
            for (later, _, _), piece in self.pieces.items():
                if later > round and piece.state == PieceState.WAITS:
                    piece.state = PieceState.NEVER

    def close(self) -> None:
        """What runs or waits when a run is over does so no longer."""
        if self.over:
            finished = self.state.word == RunStatus.FINISHED
            for piece in self.pieces.values():
                if piece.state == PieceState.RUNS:
                    piece.state = PieceState.CUT_OFF
                elif piece.state == PieceState.WAITS and finished:
                    piece.state = PieceState.NEVER
