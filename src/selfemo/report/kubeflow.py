"""What the pipeline's user interface shows of a step: metadata, scalars, a confusion matrix, pages.

Artifacts of Kubeflow are taken as they come, as objects with ``path`` and ``metadata``: nothing here imports kfp. An
artifact's own file is a small description; the data stay where the step published them, under ``store_uri``: moved to
Kubeflow's bucket, policies would be stored twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from selfemo.config import Config
from selfemo.context import Context

COUNTS = ("rollouts", "samples", "training_dialogues", "held_out_dialogues", "warmup_dialogues", "steps")


class Artifact(Protocol):
    """What is used of a Kubeflow artifact."""

    path: str
    metadata: dict[str, Any]


def describe(artifact: Artifact, config: Config, uri: str, round: int) -> None:
    """Fill in an artifact: where its data are, what they hash to, how many, of which round and base, its MLflow run.

    Where nothing was trained, the data are those of the policy that the step's artifact stands for.

    Args:
        artifact: A Dataset or a Model.
        config: Of the run.
        uri: Of what the step published.
        round: Number of the round.
    """
    context = Context(config)
    manifest = context.store.manifest(uri)
    assert manifest is not None  # the step has published it
    stands_for = context.policies.find(uri)
    counts = {k: v for k, v in manifest.result.items() if k in COUNTS}
    artifact.metadata |= {
        "store_uri": stands_for.uri,
        "round": round,
        "sha256": stands_for.digest,
        "base_model": config.policy.base,
        "code": manifest.code,
        "mlflow_run": context.registry.link(round),
        **counts,
    }
    path = Path(artifact.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(artifact.metadata), indent=1) + "\n")


def scalars(metrics: Any, values: Mapping[str, Any], round: int) -> None:
    """Log the numbers among a step's results, and of which round they are: Kubeflow lays rounds side by side."""
    for name, value in {"round": round, **values}.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            metrics.log_metric(name, float(value))


def scores(metrics: Any, matrix: Any, config: Config, uri: str, round: int) -> None:
    """Log the figures of an evaluation, and the confusion matrix of the gate corpus."""
    context = Context(config)
    manifest = context.store.manifest(uri)
    assert manifest is not None
    scalars(metrics, manifest.result, round)
    found = json.loads((context.store.fetch(uri, manifest) / "metrics.json").read_text())[config.corpora[0].name]
    labels, counts = found["labels"], found["confusion"]
    if any(row[-1] for row in counts):  # KFP's matrix is square: no turn's gold is "none"
        matrix.log_confusion_matrix([*labels, "none"], [*counts, [0] * (len(labels) + 1)])
    else:
        matrix.log_confusion_matrix(labels, [row[:-1] for row in counts])


def pages(markdown: Artifact, html: Artifact, config: Config, decision: str) -> None:
    """Write a round's summary and its page."""
    from selfemo.report.evidence import read_round
    from selfemo.report.page import round_page, round_summary

    context = Context(config)
    round = read_round(context, decision)
    assert round is not None  # the step has published it
    for artifact, text in ((markdown, round_summary(context, round)), (html, round_page(context, round))):
        path = Path(artifact.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        artifact.metadata["round"] = round.row.round
