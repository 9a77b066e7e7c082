"""Components by their plain functions, as the pipeline chains them: shards and all, artifacts in a directory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from kfp import dsl

from components.decide.component import decide as decide_
from components.evaluate.component import evaluate
from components.filter.component import filter as filter_
from components.generate.component import generate
from components.prepare.component import prepare as prepare_
from components.train.component import train as train_
from components.warmup.component import warmup as warmup_
from selfemo import steps
from selfemo.config import Config
from selfemo.context import Context

_PLACE = tempfile.TemporaryDirectory(prefix="components-")  # goes with the process
SHOWN: dict[str, Any] = {}
"""The artifact that a component wrote last, by its and the component's name."""


def artifact(kind: type, name: str) -> Any:
    """An output artifact as KFP hands it to a component."""
    SHOWN[name] = kind(uri=str(Path(tempfile.mkdtemp(dir=_PLACE.name)) / name.rsplit("/", 1)[1]))
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
    config = Config.from_json(text)
    shards = [generate.python_func(text, policy, data, round, shard) for shard in range(config.launch.shards)]
    return steps.gather(config, shards, policy, data, round).uri


def samples(text: str, rollouts: str, round: int) -> str:
    """URI of the training samples."""
    given = _inputs(text, rollouts)
    shown = [artifact(dsl.Dataset, f"filter/{name}") for name in ("rollouts", "dataset")]
    shown.append(artifact(dsl.Metrics, "filter/metrics"))
    return str(filter_.python_func(text, [rollouts], given["policy"], given["prepared"], round, *shown))


def train(text: str, policy: str, samples: str, data: str, round: int) -> str:
    """URI of the challenger."""
    return str(train_.python_func(text, policy, samples, data, round, artifact(dsl.Model, "train/model")))


def scores(text: str, policy: str, data: str, round: int) -> str:
    """URI of the scores, from all shards."""
    config = Config.from_json(text)
    shards = [evaluate.python_func(text, policy, data, round, shard) for shard in range(config.launch.shards)]
    return steps.score(config, shards, policy, data, round).uri


def decide(
    text: str, champion: str, champion_scores: str, misses: int, challenger: str, scores: str, round: int
) -> Any:
    """Policy, scores, misses, whether to go on."""
    return decide_.python_func(
        text,
        champion,
        champion_scores,
        misses,
        challenger,
        [scores],  # all shards are there as one: that is what a shard that is asked for again gives
        _inputs(text, scores)["prepared"],
        round,
        artifact(dsl.Metrics, "decide/metrics"),
        artifact(dsl.ClassificationMetrics, "decide/confusion"),
        artifact(dsl.Markdown, "decide/summary.md"),
        artifact(dsl.HTML, "decide/page.html"),
    )


def _inputs(text: str, uri: str) -> dict[str, Any]:
    """What an artifact was made from; nothing where there is none."""
    manifest = Context(Config.from_json(text)).store.manifest(uri)
    return {"policy": "", "prepared": ""} if manifest is None else dict(manifest.inputs)
