"""What a round's filter comes to: samples, the reasons of the rest, and figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from selfemo.data.labels import LabelSpace
from selfemo.data.records import Outcome, Rollout, Sample
from selfemo.method.flywheel.readings import Readings
from selfemo.method.flywheel.reasons import Reason
from selfemo.method.flywheel.texts import distinct_n, most_frequent
from selfemo.method.guard import lowest_entropy

EXAMPLES, EXAMPLE_LENGTH = 2, 400
"""Rejected examples that are shown for each task and reason, and their characters."""
KEPT = Reason.KEPT.name.lower()


@dataclass
class Draft:
    """A sample with what it still may be rejected for, and how many candidates stand behind it.

    ``hit`` says whether the target is what hidden gold says; None where there is no gold.
    """

    sample: Sample
    text: str
    candidates: int
    hit: bool | None = None


@dataclass
class Filtered:
    """What a round keeps.

    Attributes:
        samples: Training samples, in the order of their rollouts.
        reasons: Candidates by reason, per task.
        earlier: First labels of the targets by turn, of the rounds that taught the policy, the last one's where several
            have it.
        targets: The same of this round, of all corpus turns, kept or not.
        before: First target label of every group that has one, counted, per task.
        after: The same over the kept samples.
        labels: First labels by what they are of and by corpus, since corpora have label spaces of their own:
            ``predicted``, the first label of the likeliest answer to each corpus turn (before any calibration, whatever
            gold says); ``declared``, by all candidate replies; ``target``, of all corpus turns; ``kept``, of the
            samples.
        sampled: Of each generated turn the first candidate that is an answer: replies as the policy gives them.
        metrics: Counts, what the collapse guard looks at, and the pseudo-label accuracy. The entropy of each of
            ``labels``, such as ``predicted_entropy``, is that of the corpus where it is lowest; it is left out where
            nothing was asked.
        scores, confidences, hits: Of every candidate, group, and pseudo-label whose gold is known.
        kept_hits: Of the pseudo-labels that are kept.
        right: By corpus and voice, and of their pool, whether the first label that it reads is what hidden gold says.
        weights: What each voice counts, by corpus and voice.
        examples: What was rejected, some for each task and reason, as text.
        outcomes: What became of each rollout's candidates, by its id.
    """

    samples: list[Sample] = field(default_factory=list)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    earlier: Mapping[str, str] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    before: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    after: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    labels: dict[str, dict[str, Counter[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Counter))
    )
    sampled: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)
    kept_hits: list[bool] = field(default_factory=list)
    right: dict[str, list[bool]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    examples: dict[str, dict[str, list[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def assess(
        self,
        rollout: Rollout,
        scores: Iterable[float],
        confidences: Iterable[float],
        reasons: Iterable[int],
        target: tuple[str, ...] = (),
    ) -> None:
        """Note what the array filter says of a rollout's candidates; what it keeps may still be rejected."""
        self.outcomes[rollout.id] = Outcome(
            id=rollout.id,
            target=target,
            scores=tuple(round(float(x), 6) for x in scores),
            confidences=tuple(round(float(c), 6) for c in confidences),
            reasons=tuple(Reason(int(code)).name.lower() for code in reasons),
        )

    def show(self, task: str, reason: Reason, text: str) -> None:
        """Keep an example of what was rejected, unless there are enough."""
        if len(shown := self.examples[task][reason.name.lower()]) < EXAMPLES:
            shown.append(text[:EXAMPLE_LENGTH])

    def reject(self, draft: Draft, reason: Reason) -> None:
        """Count the candidates behind a draft that is not kept after all."""
        if draft.candidates:
            name, parent = reason.name.lower(), draft.sample.parents[0]
            self.reasons[draft.sample.task][name] += draft.candidates
            noted = self.outcomes[parent]
            now = tuple(name if r == KEPT else r for r in noted.reasons)
            self.outcomes[parent] = noted.model_copy(update={"reasons": now})
            self.show(draft.sample.task, reason, f"{draft.text} [{', '.join(draft.sample.target)}]")

    @property
    def flips(self) -> Counter[str]:
        """Turns whose target has another first label than when the policy was taught, by ``earlier > now``."""
        changed = ((self.earlier.get(turn, now), now) for turn, now in self.targets.items())
        return Counter(f"{before} > {now}" for before, now in changed if before != now)

    def note_voices(self, readings: Readings, rollouts: Sequence[Rollout], corpus: str, space: LabelSpace) -> None:
        """Note how far the voices are right, and what they count.

        Args:
            readings: Of a corpus's turns.
            rollouts: The turns.
            corpus: Which.
            space: Its labels.
        """
        self.right |= {f"{corpus}/{name}": hits for name, hits in readings.right(rollouts, space).items()}
        self.weights |= {f"{corpus}/{name}": weight for name, weight in readings.weights.items()}

    def summarise(self) -> None:
        """Fill in the metrics."""
        total = sum(sum(c.values()) for c in self.reasons.values())
        accepted = sum(c["kept"] for c in self.reasons.values())
        crowded = sum(c["duplicate"] + c["unsure"] + c["over_quota"] for c in self.reasons.values())
        replies = [s.reply for s in self.samples if s.reply]
        self.metrics = {
            "candidates": total,
            "accepted": accepted,
            "rejected": total - accepted,
            "acceptance": accepted / total if total else 0.0,
            "eligible": (accepted + crowded) / total if total else 0.0,
            "samples": len(self.samples),
            "mean_reward": float(np.mean(self.scores)) if self.scores else 0.0,
            "group_confidence": float(np.mean(self.confidences)) if self.confidences else 0.0,
            "replies": len(replies),
            "distinct_2": distinct_n(replies, 2),
        }
        self.metrics |= {f"{kind}_entropy": lowest_entropy(found) for kind, found in self.labels.items()}
        if self.sampled:
            self.metrics["sampled_distinct_2"] = distinct_n(self.sampled, 2)
            self.metrics["sampled_most_frequent"] = most_frequent(self.sampled)
            self.metrics["sampled_replies"] = len(self.sampled)
        self.metrics |= {f"voice_weight/{name}": weight for name, weight in self.weights.items()}
        self.metrics |= {f"voice_accuracy/{name}": float(np.mean(hits)) for name, hits in self.right.items() if hits}
        self.metrics["seen_again"] = again = sum(turn in self.earlier for turn in self.targets)
        if again:
            self.metrics["flipped"] = self.flips.total() / again
        if self.hits:
            self.metrics["pseudo_label_accuracy"] = float(np.mean(self.hits))
        if self.kept_hits:
            self.metrics["kept_label_accuracy"] = float(np.mean(self.kept_hits))
