"""Shards change nothing in the records, and none may be missing."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from components.generate.component import generate
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.records import Rollout, read_records
from selfemo.policies import Policy
from tests.component import plain


def test_any_number_of_shards_gives_the_same_records(small_local: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    load = Policy.player

    def counted(policy: Policy) -> Any:
        if any(frame.function == "answer" for frame in inspect.stack()):  # evaluation alone counts
            loaded.append(policy.uri)
        return load(policy)

    monkeypatch.setattr(Policy, "player", counted)
    whole = small_local
    text = whole.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    one, scored = plain.rollouts(text, policy, data, 1), plain.scores(text, policy, data, 0)
    for count in (2, 3, 40):  # more shards than dialogues: some are empty
        launch = whole.launch.model_copy(update={"shards": count})
        cut = whole.model_copy(update={"launch": launch, "run": f"cut-{count}"})
        text = cut.to_json()
        same, same_scores = plain.rollouts(text, policy, data, 1), plain.scores(text, policy, data, 0)
        store = Context(cut).store
        same_records(read(store, same), read(store, one))
        for file in ("predictions.jsonl.gz", "replies.jsonl.gz", "metrics.json"):
            assert (store.fetch(same_scores) / file).read_bytes() == (store.fetch(scored) / file).read_bytes()
    assert whole.evaluation.dialogues == 8
    assert len(loaded) == 1 + 2 + 3 + 8  # none for an empty shard


def read(store: Any, uri: str) -> list[Rollout]:
    return list(read_records(store.fetch(uri) / "rollouts.jsonl.gz", Rollout))


def same_records(some: list[Rollout], others: list[Rollout]) -> None:
    """They are equal, but for last digits of posteriors: what is computed together rounds otherwise."""
    for mine, other in zip(some, others, strict=True):
        assert mine.posteriors.keys() == other.posteriors.keys()
        for voice, chances in mine.posteriors.items():
            assert chances == pytest.approx(other.posteriors[voice], abs=1e-4)
        assert mine == other.model_copy(update={"posteriors": mine.posteriors})


def test_a_shard_that_is_missing_is_an_error(small_local: Config) -> None:
    from selfemo import steps
    from selfemo.errors import UserError

    cut = small_local.model_copy(update={"launch": small_local.launch.model_copy(update={"shards": 2})})
    text = cut.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    first, second = (generate.python_func(text, policy, data, 1, n) for n in range(2))
    for parts in ([first], [first, first], [first, second, second]):
        with pytest.raises(UserError, match="not all shards"):
            steps.gather(cut, parts, policy, data, 1)
