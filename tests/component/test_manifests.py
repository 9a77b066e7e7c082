"""A step reads the manifest of a policy once, however often it looks the policy up."""

from __future__ import annotations

from collections import Counter

import pytest

from selfemo import steps
from selfemo.config import Config
from selfemo.context import Context
from selfemo.loop import LoopState
from selfemo.registry.served import reference
from selfemo.store.artifacts import MANIFEST
from selfemo.store.backends import LocalBackend
from tests.component import plain


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often files were read, by URI."""
    found: Counter[str] = Counter()
    read = LocalBackend.read

    def counted(self: LocalBackend, uri: str) -> bytes | None:
        found[uri] += 1
        return read(self, uri)

    monkeypatch.setattr(LocalBackend, "read", counted)
    return found


def test_an_evaluation_a_decision_and_a_reference_each_read_a_policys_manifest_once(
    small_local: Config, reads: Counter[str]
) -> None:
    text = small_local.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    manifest = f"{policy}/{MANIFEST}"
    reads.clear()
    scores = steps.evaluation(small_local, policy, data, 0)
    assert reads[manifest] == 1
    reads.clear()
    steps.decide(small_local, LoopState(), policy, scores.uri, 0)
    assert reads[manifest] == 1
    context = Context(small_local)
    version = context.registry.versions.get("1")
    reads.clear()
    assert [reference(context, version).uri for _ in range(2)] == [policy, policy]
    assert reads[manifest] == 1
