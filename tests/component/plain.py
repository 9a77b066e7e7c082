"""Components by their plain functions, as the pipeline chains them: shards and all, artifacts in a directory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from kfp import dsl

from components.decide.component import decide as decide_
from components.evaluate.component import evaluate
from components.filter.component import filter as filter_
from components.gather.component import gather
from components.generate.component import generate
from components.prepare.component import prepare as prepare_
from components.score.component import score
from components.train.component import train as train_
from components.warmup.component import warmup as warmup_
from selfemo.config import Config

SHOWN: dict[str, Any] = {}
"""The artifact that a component wrote last, by its and the component's name."""


def artifact(kind: type, name: str) -> Any:
    """An output artifact as KFP hands it to a component."""
    SHOWN[name] = kind(uri=str(Path(tempfile.mkdtemp()) / name.rsplit("/", 1)[1]))
    return SHOWN[name]


def prepare(text: str) -> str:
    """URI of the prepared data."""
    settings, uri, shards = prepare_cycle(text, "", "")
    assert Config.from_json(settings) == Config.from_json(text)
    assert shards == list(range(Config.from_json(text).launch.shards))
    return uri


def prepare_cycle(text: str, cycle: str, scheduled_at: str) -> tuple[str, str, list[int]]:
    """Configuration of the cycle, URI of the prepared data, numbers of the shards."""
    settings, uri, shards = prepare_.python_func(text, cycle, scheduled_at, artifact(dsl.Dataset, "prepare/dataset"))
    return str(settings), str(uri), shards


def warmup(text: str, data: str) -> str:
    """URI of the first policy."""
    return str(warmup_.python_func(text, data, artifact(dsl.Model, "warmup/model")))


def rollouts(text: str, policy: str, data: str, round: int) -> str:
    """URI of the rollouts, from all shards."""
    shards = range(Config.from_json(text).launch.shards)
    shards = [generate.python_func(text, policy, data, round, shard) for shard in shards]
    return str(gather.python_func(text, shards, policy, data, round, artifact(dsl.Dataset, "gather/dataset")))


def samples(text: str, rollouts: str, round: int) -> str:
    """URI of the training samples."""
    shown = artifact(dsl.Dataset, "filter/dataset"), artifact(dsl.Metrics, "filter/metrics")
    return str(filter_.python_func(text, rollouts, round, *shown))


def train(text: str, policy: str, samples: str, data: str, round: int) -> str:
    """URI of the challenger."""
    return str(train_.python_func(text, policy, samples, data, round, artifact(dsl.Model, "train/model")))


def scores(text: str, policy: str, data: str, round: int) -> str:
    """URI of the scores, from all shards."""
    shards = range(Config.from_json(text).launch.shards)
    shards = [evaluate.python_func(text, policy, data, round, shard) for shard in shards]
    shown = artifact(dsl.Metrics, "score/metrics"), artifact(dsl.ClassificationMetrics, "score/confusion")
    return str(score.python_func(text, shards, policy, data, round, *shown))


def decide(*given: Any) -> Any:
    """Policy, scores, misses, whether to go on."""
    return decide_.python_func(
        *given, artifact(dsl.Markdown, "decide/summary.md"), artifact(dsl.HTML, "decide/page.html")
    )
