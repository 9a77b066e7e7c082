"""What a round came to, as one row: what MLflow, the card, the page and the table at the end of a run show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from selfemo.store.artifacts import Manifest, Store


class RoundFate(StrEnum):
    """What became of a round's policy."""

    UNKNOWN = ""
    """The registry was not asked, or does not have it."""
    PROMOTED = "promoted"
    """It became champion, whether it is still or not."""
    CANARY = "canary"
    """It is tried on a share of the traffic."""
    KEPT = "kept"
    """It was registered, and not promoted."""
    ROLLED_BACK = "rolled back"
    """It was champion or canary, and was taken back."""
    STOPPED = "stopped"
    """The collapse guard ended its round."""


@dataclass(frozen=True)
class RoundRow:
    """What a round came to.

    Attributes:
        round: Its number; 0 is the policy that the first round starts from.
        accepted, rejected: Candidates.
        mean_reward: Mean smoothed IoU of candidates with their targets.
        accuracy, weighted_f1: On the gate corpus, held out.
        weighted_f1_interval: 95 %, bootstrap over dialogues.
        expression_own, expression_judge: Expression consistency, by own reading and by the reader outside the loop.
        seconds: Of all its steps.
        accelerator_seconds: Seconds of each step times the GPUs that it had: what the round cost.
        promoted: Whether its policy became champion.
        stopped: Why the collapse guard stopped it, or empty.
        reasons: Candidates by rejection reason.
        became: What the registry has done with its version since. The loop may have decided for a version that the
            registry's own champion then beat.
    """

    round: int
    accepted: int | None
    rejected: int | None
    mean_reward: float | None
    accuracy: float
    weighted_f1: float
    weighted_f1_interval: tuple[float, float]
    expression_own: float | None
    expression_judge: float | None
    seconds: float
    promoted: bool
    stopped: str = ""
    reasons: Mapping[str, int] = field(default_factory=dict)
    accelerator_seconds: float = 0.0
    became: RoundFate = RoundFate.UNKNOWN

    def to_dict(self) -> dict[str, Any]:
        """As plain data, which JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RoundRow:
        """The inverse of :meth:`to_dict`, also after JSON, which has lists in place of tuples.

        Raises:
            KeyError, TypeError, ValueError: If the data is of no row.
        """
        low, high = data["weighted_f1_interval"]
        became = RoundFate(data.get("became", ""))
        return cls(**{**data, "weighted_f1_interval": (low, high), "became": became})

    @classmethod
    def of(
        cls,
        store: Store,
        round: int,
        challenger: Manifest,
        evaluation: Manifest,
        promoted: bool,
        stopped: str = "",
        evaluated_before: bool = False,
    ) -> RoundRow:
        """Collect a round by walking back from its results along the manifests' inputs.

        Args:
            store: That holds the artifacts.
            round: Number of the round.
            challenger: Of what it trained.
            evaluation: Of their evaluation.
            promoted: The decision.
            stopped: What the collapse guard said.
            evaluated_before: Whether the scores are an earlier round's, whose seconds are not this one's.
        """
        made: Manifest | None = challenger
        steps = [] if evaluated_before else [evaluation]
        result = evaluation.result
        filtered: Mapping[str, Any] = {}
        while made is not None:
            steps.append(made)
            if made.step == "filter":
                filtered = made.result
            before = made.inputs.get("samples") or made.inputs.get("rollouts")
            if not before and made.step == "warmup":
                before = made.inputs["prepared"]
            made = store.manifest(before) if before else None
        low, high = result["weighted_f1_interval"]
        return cls(
            round=round,
            accepted=filtered.get("accepted"),
            rejected=filtered.get("rejected"),
            mean_reward=filtered.get("mean_reward"),
            accuracy=result["accuracy"],
            weighted_f1=result["weighted_f1"],
            weighted_f1_interval=(low, high),
            expression_own=result.get("expression_own"),
            expression_judge=result.get("expression_judge"),
            seconds=_took(steps, "seconds"),
            promoted=promoted,
            stopped=stopped,
            reasons=dict(filtered.get("reasons", {})),
            accelerator_seconds=_took(steps, "accelerator_seconds"),
        )


def _took(steps: Sequence[Manifest], what: str) -> float:
    """``seconds`` or ``accelerator_seconds`` of steps, their shards included."""
    return float(f"{sum(float(s.result.get(w, 0.0)) for s in steps for w in (what, f'shard_{what}')):.1f}")


HEADERS = (
    "round",
    "accepted",
    "rejected",
    "mean reward",
    "accuracy",
    "weighted F1 [95 %]",
    "expression own",
    "judge",
    "seconds",
    "champion",
)


def cells(row: RoundRow) -> tuple[str, ...]:
    """A row as text, in the order of :data:`HEADERS`."""
    low, high = row.weighted_f1_interval

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    def count(value: int | None) -> str:
        return "-" if value is None else str(int(value))

    return (
        str(row.round),
        count(row.accepted),
        count(row.rejected),
        share(row.mean_reward),
        share(row.accuracy),
        f"{row.weighted_f1:.3f} [{low:.3f}, {high:.3f}]",
        share(row.expression_own),
        share(row.expression_judge),
        f"{row.seconds:.0f}",
        fate(row),
    )


def fate(row: RoundRow) -> RoundFate:
    """What became of a round's policy: what the registry did, where that is known."""
    if row.stopped and row.became is not RoundFate.PROMOTED:
        return RoundFate.STOPPED
    return row.became or (RoundFate.PROMOTED if row.promoted else RoundFate.KEPT)


def stops(rows: Sequence[RoundRow]) -> list[str]:
    """A line under the table for each round that the collapse guard stopped."""
    return [f"round {row.round} was stopped: {row.stopped}" for row in rows if row.stopped]
