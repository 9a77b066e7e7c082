"""One run of a study to its end: the pipeline, the report set once, and the record that is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from selfemo import hardware
from selfemo.config import Config
from selfemo.context import Context, code_version
from selfemo.data.corpora.table import spaces_in
from selfemo.data.labels import LabelSpace
from selfemo.data.records import Prediction, read_records
from selfemo.errors import UserError
from selfemo.local.runner import run_pipeline
from selfemo.method.evaluation import confusion
from selfemo.places import temporary
from selfemo.registry.promotion import decisions
from selfemo.store.artifacts import Manifest
from selfemo.study.plan import StudyRun

SCHEMA = "selfemo.study/2"

FIGURES = (
    "accuracy",
    "weighted_f1",
    "macro_f1",
    "mean_iou",
    "label_entropy",
    "calibration_error",
    "brier",
    "expression_own",
    "expression_judge",
    "expression_judge_kappa",
    "expression_distinct_2",
    "expression_most_frequent",
)
FILTERED = (
    "candidates",
    "accepted",
    "acceptance",
    "eligible",
    "samples",
    "mean_reward",
    "group_confidence",
    "predicted_entropy",
    "declared_entropy",
    "target_entropy",
    "kept_entropy",
    "distinct_2",
    "sampled_distinct_2",
    "sampled_most_frequent",
    "pseudo_label_accuracy",
    "kept_label_accuracy",
    "seen_again",
    "flipped",
)
VOICES = "voice_"
"""Begins the names of what a round says of its voices."""


def execute(run: StudyRun, config: Config) -> dict[str, Any]:
    """Run the pipeline and score its champion on the evaluation split.

    Args:
        run: Which.
        config: Its configuration, with the policy it starts from.

    Returns:
        The record: figures, counts to compute intervals from, and what made them.

    Raises:
        UserError: If the pipeline failed.
    """
    context = Context(config)
    if context.embedded:
        _ = context.services
    ended = run_pipeline(context)
    if not ended.succeeded:
        log = context.workdir / "runs" / config.run / "run.log"
        fix = "mend it and give the same command again"
        raise UserError(f"a run of the study failed: {ended.error}", where=str(log), fix=fix)
    decided = decisions(context)
    policy = str(decided[-1].result["policy"])
    with temporary("study") as directory:
        folder = directory
        (folder / "config.json").write_text(context.portable.to_json())
        command = [
            sys.executable,
            "-m",
            "selfemo",
            "evaluate",
            "--config",
            str(folder / "config.json"),
            "--policy",
            policy,
            "--out",
            str(folder / "out"),
        ]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            fix = "its own message stands above; mend it and give the same command again"
            raise UserError("a run of the study could not be scored", where=policy, fix=fix)
        scores = json.loads((folder / "out" / "metrics.json").read_text())
        rows = list(read_records(folder / "out" / "predictions.jsonl.gz", Prediction))
        space = spaces_in(folder / "out")[config.corpora[0].name]
    corpus = config.corpora[0].name
    flat = {k: v for k, v in scores[corpus].items() if isinstance(v, (int, float))}
    flat |= {f"expression_{k}": v for k, v in scores["expression"].items()}
    rounds = [_round(context, decision) for decision in decided]
    return {
        "schema": SCHEMA,
        "variant": run.variant,
        "budget": run.budget,
        "seed": run.seed,
        "digest": run.digest,
        "run": config.run,
        "policy": policy,
        "base": config.policy.base,
        "code": code_version(),
        "machine": hardware.describe(),
        "corpus": corpus,
        "split": config.evaluation.split,
        "seconds": float(f"{sum(r['seconds'] for r in rounds):.1f}"),
        "scores": {k: flat[k] for k in ("turns", "dialogues", *FIGURES) if k in flat},
        "rounds": rounds,
        "labels": list(space.labels),
        "counts": counts([r for r in rows if r.corpus == corpus], space),
    }


def counts(rows: list[Prediction], space: LabelSpace) -> list[list[int]]:
    """Turns by dialogue, gold and predicted label, those that occur: all that metrics and intervals need."""
    matrix = confusion(rows, space)
    return [[int(d), int(g), int(p), int(matrix[d, g, p])] for d, g, p in zip(*matrix.nonzero(), strict=True)]


def _round(context: Context, decision: Manifest) -> dict[str, Any]:
    """What a round measured, collected from its steps' manifests."""
    row, inputs = decision.result["row"], decision.inputs
    scored = context.store.manifest(inputs["scores"])
    trained = context.store.manifest(inputs["challenger"])
    assert scored and trained  # the run has succeeded
    found: dict[str, Any] = {
        "round": row["round"],
        "seconds": row["seconds"],
        "promoted": row["promoted"],
        "stopped": row["stopped"],
        "selection": {k: scored.result[k] for k in ("turns", *FIGURES) if k in scored.result},
    }
    if samples := trained.inputs.get("samples"):
        filtered = context.store.manifest(samples)
        assert filtered
        found["filter"] = {k: v for k, v in filtered.result.items() if k in FILTERED or k.startswith(VOICES)}
        found["reasons"] = filtered.result["reasons"]
        found["training"] = {k: v for k, v in trained.result.items() if isinstance(v, (int, float))}
    return found
