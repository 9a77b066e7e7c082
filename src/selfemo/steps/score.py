"""Metrics of what a policy answered, over all shards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.data.corpora.table import spaces_in
from selfemo.data.label_file import SPACES, write_spaces
from selfemo.data.labels import Spaces
from selfemo.data.records import Prediction, Reply, read_records, write_records
from selfemo.data.seeds import seed_of
from selfemo.errors import UserError
from selfemo.method.abstain import CALIBRATION, calibrate, write_calibration
from selfemo.method.evaluation import CORRECTED, PREDICTIONS
from selfemo.method.guard import ENOUGH_TURNS
from selfemo.steps.evaluate import REPLIES, evaluate_shard, scored_before
from selfemo.steps.shards import whole

METRICS = "metrics.json"


def score(config: Config, shards: Sequence[str], policy: str, prepared: str, round: int) -> Published:
    """Metrics of the answers of all shards: the same for any number of them."""
    return _score(Context(config), shards, policy, prepared, round)


def evaluation(config: Config, policy: str, prepared: str, round: int) -> Published:
    """Scores of a policy on the held-out dialogues, from all shards of them one after the other."""
    context = Context(config)
    shards = [evaluate_shard(context, policy, prepared, round, n).uri for n in range(config.launch.shards)]
    return _score(context, shards, policy, prepared, round)


def _score(context: Context, shards: Sequence[str], policy: str, prepared: str, round: int) -> Published:
    config = context.config
    gate_corpus = config.corpora[0].name

    def work(out: Path, _: Path) -> dict[str, Any]:
        folders, took = whole(context, shards)
        spaces = spaces_in(context.store.fetch(prepared))
        scores = metrics_of(folders, spaces, config, out)
        if gate_corpus not in scores:
            raise UserError(
                f"no turn of {gate_corpus}, the gate corpus, was scored",
                where=prepared,
                fix="name a corpus first that the held-out dialogues have",
            )
        flat = {k: v for k, v in scores[gate_corpus].items() if isinstance(v, (int, float))}
        flat |= {f"expression_{k}": v for k, v in scores["expression"].items()}
        registry = context.registry
        run = registry.round(round)
        registry.metrics(run, [(round, _values(scores, gate_corpus))])
        # The guard looks at what is fixed: what people correct is no sample of what there is.
        counted = {c: s for c, s in scores.items() if c in spaces and (c == gate_corpus or s["turns"] >= ENOUGH_TURNS)}
        entropies = {c: s["label_entropy"] for c, s in counted.items()}
        return {
            **flat,
            "label_entropies": entropies,
            **took,
            "weighted_f1_interval": scores[gate_corpus]["weighted_f1_interval"],
        }

    if known := scored_before(context, policy, prepared, round):
        scores = json.loads((context.store.fetch(known.uri, known.manifest) / METRICS).read_text())
        registry = context.registry  # the round's run shows the figures of the policy that it ends with, like any other
        registry.metrics_once(registry.round(round), round, _values(scores, gate_corpus))
        return known
    found = context.policies.find(policy)
    return context.step("score", round, {"policy": found.uri, **found.version, "prepared": prepared}, work)


def _values(scores: Mapping[str, Mapping[str, Any]], gate_corpus: str) -> dict[str, float]:
    """Metrics of all corpora as MLflow shows them."""
    values = {f"eval/{c}/{k}": v for c, s in scores.items() for k, v in s.items() if isinstance(v, (int, float))}
    f1 = scores[gate_corpus]["f1"]
    return values | {f"eval/{gate_corpus}/f1/{named(n, label)}": v for n, (label, v) in enumerate(f1.items())}


def _corrected(shard: Path) -> list[Prediction]:
    """What was answered on corrected conversations, where there are any."""
    file = shard / CORRECTED
    return list(read_records(file, Prediction)) if file.is_file() else []


def named(number: int, label: str) -> str:
    """A label as a part of a metric's name: MLflow takes letters and digits, but not the vowel signs of Hindi.

    Args:
        number: Of the label, in the order of its space; it stands in for what MLflow refuses.
        label: Its name.
    """
    return label if re.fullmatch(r"[\w.\- :]+", label) and label.strip(". ") == label else f"label {number}"


def metrics_of(shards: Sequence[Path], spaces: Spaces, config: Config, out: Path) -> dict[str, dict[str, Any]]:
    """Write metrics, calibration, labels and all answers into a directory.

    Args:
        shards: What :func:`selfemo.steps.evaluate.answer` wrote, in order.
        spaces: Label spaces by corpus.
        config: Section ``evaluation``.
        out: Directory; may be that of the only shard.

    Returns:
        Metrics by corpus, and under ``expression`` the expression consistency.
    """
    from selfemo.method.evaluation import consistency, summarise

    rows = [row for shard in shards for row in read_records(shard / PREDICTIONS, Prediction)]
    replies = [row for shard in shards for row in read_records(shard / REPLIES, Reply)]
    replies.sort(key=lambda r: seed_of(config.seed, r.dialogue))  # the order in which prefixes were drawn
    scores: dict[str, dict[str, Any]] = {}
    known = {}
    for corpus in dict.fromkeys(r.corpus for r in rows):
        of_corpus = [r for r in rows if r.corpus == corpus]
        scores[corpus] = summarise(of_corpus, spaces[corpus], config)
        known[corpus] = calibrate(of_corpus, spaces[corpus])
    corrected = [row for shard in shards for row in _corrected(shard)]
    for corpus in dict.fromkeys(r.corpus for r in corrected):
        scores[f"corrected/{corpus}"] = summarise([r for r in corrected if r.corpus == corpus], spaces[corpus], config)
    if corrected:
        write_records(out / CORRECTED, corrected)
    scores["expression"] = dict(consistency(replies))
    write_spaces(out / SPACES, spaces)
    write_calibration(out / CALIBRATION, known)
    write_records(out / PREDICTIONS, rows)
    write_records(out / REPLIES, replies)
    (out / METRICS).write_text(json.dumps(scores, indent=1))
    return scores
