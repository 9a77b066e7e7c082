"""What a run left behind, read once: what the page, MLflow's pictures and Kubeflow's pages are made of.

Everything is read from published artifacts, by the decisions that the run's record names; weights are not fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from selfemo.data.labels import LabelSpace
from selfemo.data.records import Outcome, Prediction, Record, Rollout, Sample, read_records
from selfemo.method.evaluation import labels_of, predictions
from selfemo.method.gate import Decision
from selfemo.registry.rounds import RoundRow
from selfemo.registry.surroundings import Surroundings
from selfemo.store.artifacts import Manifest, Store

R = TypeVar("R", bound=Record)

NAMES = {"samples": "samples.jsonl.gz", "outcomes": "outcomes.jsonl.gz", "rollouts": "rollouts.jsonl.gz"}
"""Files of the filter's and of self-play's artifacts."""


@dataclass(frozen=True)
class Scores:
    """An evaluation: of a round's policy, or of the champion that it was held against.

    Attributes:
        uri: Of its artifact.
        metrics: By corpus, and under ``expression``; what is under ``corrected/`` is of corrected conversations.
        rows: Its held-out turns.
        spaces: The labels that it was scored with.
    """

    uri: str
    metrics: Mapping[str, Mapping[str, Any]]
    rows: Sequence[Prediction]
    spaces: Mapping[str, LabelSpace]

    @property
    def corpora(self) -> list[str]:
        """Those with figures of recognition, the gate corpus first."""
        return [name for name, values in self.metrics.items() if "confusion" in values and "/" not in name]


@dataclass(frozen=True)
class FilterEvidence:
    """What a round's filter made of its self-play.

    Attributes:
        uri: Of the filter's artifact; ``made`` its manifest.
        told: Its own summary: metrics, reasons and label counts.
        rollouts_uri: Of the self-play.
        directory, rollouts_directory: Their files.
    """

    uri: str
    made: Manifest
    told: Mapping[str, Any]
    rollouts_uri: str
    directory: Path
    rollouts_directory: Path | None

    @cached_property
    def samples(self) -> list[Sample]:
        """What was kept."""
        return _records(self.directory, "samples", Sample)

    @cached_property
    def outcomes(self) -> dict[str, Outcome]:
        """What became of each rollout's candidates, by its id; empty of a filter that kept no record of it."""
        return {row.id: row for row in _records(self.directory, "outcomes", Outcome)}

    @cached_property
    def rollouts(self) -> list[Rollout]:
        """All candidates; what is held out is none."""
        if self.rollouts_directory is None:
            return []
        return [row for row in _records(self.rollouts_directory, "rollouts", Rollout) if not row.held_out]


@dataclass(frozen=True)
class Round:
    """One decided round, and all that led to it.

    Attributes:
        uri: Of the decision; ``made`` its manifest.
        row: What it came to.
        decision: Of the gate.
        after: Scores of the round's policy.
        before: Of the champion that it was held against; None where there was none, where it is gone, and where nothing
            was trained, so that it would be held against itself.
        challenger: Manifest of what it trained; None if it is gone.
        policy: Where its policy lies.
        history: Metrics of the training, a row a step.
        kept: Of the filter; None for a warm-up, and where it is gone.
        prepared: Counts of the prepared data, where they are there.
    """

    uri: str
    made: Manifest
    row: RoundRow
    decision: Decision
    after: Scores
    before: Scores | None
    challenger: Manifest | None
    policy: str
    history: Sequence[Mapping[str, float]] = ()
    kept: FilterEvidence | None = None
    prepared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Of the round."""
        return self.row.round


def read_round(context: Surroundings, uri: str) -> Round | None:
    """All there is to see of one round.

    Args:
        context: Of the run.
        uri: Of the round's decision.

    Returns:
        None if the decision is gone.
    """
    store = context.store
    made = store.manifest(uri)
    if made is None:
        return None
    challenger = str(made.inputs["challenger"])
    trained = context.policies.manifest(challenger)
    kept = _kept(store, str(trained.inputs.get("samples", ""))) if trained else None
    before = str(made.inputs.get("champion_scores", ""))
    after = _scores(store, str(made.inputs["scores"]))
    assert after is not None  # a decision is made of them, and `selfemo gc` keeps both or none
    prepared = store.manifest(str(after[1].inputs.get("prepared", "")))
    found = _scores(store, before) if before and before != after[0].uri else None
    return Round(
        uri=uri,
        made=made,
        row=RoundRow.from_dict(made.result["row"]),
        decision=Decision.from_dict(made.result),
        after=after[0],
        before=found[0] if found else None,
        challenger=trained,
        policy=context.policies.find(challenger).uri if trained else challenger,
        history=_history(store, challenger, trained),
        kept=kept,
        prepared=prepared.result if prepared else {},
    )


def _scores(store: Store, uri: str) -> tuple[Scores, Manifest] | None:
    made = store.manifest(uri)
    if made is None:
        return None
    metrics = json.loads((store.fetch(uri, made) / "metrics.json").read_text())
    return Scores(uri, metrics, predictions(store, uri), labels_of(store, uri)), made


def _history(store: Store, uri: str, made: Manifest | None) -> list[dict[str, float]]:
    if made is None or "training.json" not in made.files:
        return []
    return list(json.loads(store.read(uri, made, "training.json")))


def _kept(store: Store, uri: str) -> FilterEvidence | None:
    made = store.manifest(uri) if uri else None
    if made is None:
        return None
    rollouts = str(made.inputs["rollouts"])
    files = store.fetch(uri, made)
    played = store.manifest(rollouts)
    where = store.fetch(rollouts, played) if played else None
    return FilterEvidence(uri, made, json.loads((files / "filter.json").read_text()), rollouts, files, where)


def _records(directory: Path, what: str, kind: type[R]) -> list[R]:
    file = directory / NAMES[what]
    return list(read_records(file, kind)) if file.is_file() else []
