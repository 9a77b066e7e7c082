"""Steps that have nothing to learn start nothing, copy nothing, and stand for the policy they were given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfemo import steps
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.dialogue import Dialogue, write_jsonl
from selfemo.data.records import Sample, write_records
from selfemo.registry.card import model_card
from selfemo.registry.versions import CHAMPION
from tests.component import plain
from tests.conftest import there
from tests.unit.training.samples import sample

APART: list[dict[str, Any]] = [{"launch": {"processes": 2}}, {"cluster": {"trainer": "trainjob"}}]


def changed(config: Config, **sections: Any) -> Config:
    data = config.model_dump(mode="json")
    for name, value in sections.items():
        data[name] = data[name] | value if isinstance(value, dict) else value
    return Config.model_validate(data)


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("processes were started to learn nothing")

    monkeypatch.setattr("selfemo.processes.start", never)
    monkeypatch.setattr("selfemo.cluster.train.train_on_cluster", never)


def weights(config: Config, tiny: Path, name: str = "theta") -> str:
    """URI of an artifact that holds the tiny model."""
    store = Context(config).store
    store.publish(tiny, store.uri(name), step="train")
    return store.uri(name)


def samples(config: Config, rows: list[Sample], stopped: str = "") -> str:
    """URI of what a filter kept."""

    def work(out: Path, _: Path) -> dict[str, object]:
        write_records(out / "samples.jsonl.gz", rows)
        return {"stopped": stopped}

    return Context(config).step("filter", 1, {"by": "hand"}, work).uri


def prepared(config: Config, dialogues: list[Dialogue], *, labelled: bool = True) -> str:
    """URI of prepared data, of whose dialogues the first is one that the warm-up learns from."""

    def work(out: Path, _: Path) -> dict[str, object]:
        write_jsonl(out / "training.jsonl", dialogues[:2])
        (out / "warmup.json").write_text(json.dumps([dialogues[0].id] * labelled))
        return {}

    return Context(config).step("prepare", 0, {"content": "by hand"}, work).uri


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("apart", APART, ids=["processes", "trainjob"])
@pytest.mark.parametrize(("count", "stopped"), [(0, ""), (1, "collapse: all neutral")], ids=["nothing kept", "stopped"])
def test_a_round_without_anything_to_learn_starts_nothing(
    small_local: Config, tiny: Path, apart: dict[str, Any], count: int, stopped: str
) -> None:
    config = changed(small_local, **apart)
    policy = weights(config, tiny)
    done = steps.train(config, policy, samples(config, [sample(0)] * count, stopped), "no data needed", 1)
    assert (done.result["policy"], done.result["steps"], done.result["stopped"]) == (policy, 0, stopped)


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("apart", APART, ids=["processes", "trainjob"])
@pytest.mark.parametrize("warmup", [{"epochs": 0}, {"dialogues": 0}], ids=["no epochs", "no dialogues"])
def test_a_warm_up_without_anything_to_learn_starts_nothing_and_copies_no_artifact(
    small_local: Config, tiny: Path, dialogues: list[Dialogue], apart: dict[str, Any], warmup: dict[str, Any]
) -> None:
    base = weights(small_local, tiny)
    config = changed(small_local, warmup=warmup, policy={"base": base}, **apart)
    done = steps.warmup(config, prepared(config, dialogues, labelled=config.warmup.dialogues > 0))
    assert done.result["policy"] == base
    assert not done.manifest.files
    assert Context(config).policies.find(done.uri).uri == base


def test_a_base_that_is_no_artifact_is_published_once_for_all_runs(
    small_local: Config, tiny: Path, dialogues: list[Dialogue]
) -> None:
    found = set()
    for name in ("one", "two"):
        config = changed(small_local, run=name, warmup={"epochs": 0})
        done = steps.warmup(config, prepared(config, dialogues))
        policy = Context(config).policies.find(done.uri)
        assert policy.manifest is not None
        assert "model.safetensors" in policy.manifest.files
        assert not done.manifest.files
        found.add(policy.uri)
    assert len(found) == 1
    store = Context(small_local).store
    assert sum(u.endswith("/model.safetensors") for u in store.backend(store.root).list(store.root)) == 1


def test_a_training_job_publishes_the_base_that_its_waiting_step_could_not_load(
    small_local: Config, dialogues: list[Dialogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(small_local, warmup={"epochs": 0}, cluster={"trainer": "trainjob"})
    data = prepared(config, dialogues)

    def job(given: Config, step: str, round: int, uri: str, arguments: list[str]) -> None:
        with monkeypatch.context() as within:  # as torchrun has it within the job
            for name, value in {
                "TORCHELASTIC_RUN_ID": "job",
                "RANK": "0",
                "LOCAL_RANK": "0",
                "WORLD_SIZE": "1",
            }.items():
                within.setenv(name, value)
            within.setenv("GROUP_RANK", "0")
            within.setenv("GROUP_WORLD_SIZE", "1")
            assert steps.warmup(given, data).uri == uri

    monkeypatch.setattr("selfemo.cluster.train.train_on_cluster", job)
    done = steps.warmup(config, data)
    assert Context(config).policies.find(done.uri).manifest is not None


def test_a_run_that_begins_from_another_ones_policy_goes_on_with_that_policys_version(small_local: Config) -> None:
    first = changed(small_local, run="first", warmup={"epochs": 1})
    text = first.to_json()
    data = plain.prepare(text)
    theta = plain.warmup(text, data)
    plain.decide(text, "", "", 0, theta, plain.scores(text, theta, data, 0), 0)

    registry = Context(first).registry
    registry.client.set_model_version_tag(registry.model, "1", "selfemo.stopped", "collapse: by hand")

    second = changed(small_local, run="second", warmup={"epochs": 0}, policy={"base": theta}, flywheel={"tau_low": 1.0})
    text, context = second.to_json(), Context(second)
    card = context.store.backend(theta).read(f"{theta}/README.md")
    data = plain.prepare(text)
    stand_in = plain.warmup(text, data)
    shown = plain.SHOWN["warmup/model"].metadata
    assert (shown["store_uri"], shown["sha256"]) == (theta, there(context.store.manifest(theta)).digest)
    scores = plain.scores(text, stand_in, data, 0)
    state = plain.decide(text, "", "", 0, stand_in, scores, 0)
    assert state == (theta, scores, 0, True)  # the policy itself goes on, not what stands for it

    versions = context.registry.client.search_model_versions("name='self-emo'")
    assert [v.source for v in versions] == [theta]
    assert versions[0].tags["selfemo.digest"] == there(context.store.manifest(theta)).digest
    assert (
        versions[0].tags["selfemo.stopped"] == "collapse: by hand"
    )  # the guard of the first run said so, of the first
    assert versions[0].description.startswith("**Status:** champion since ")
    assert context.store.backend(theta).read(f"{theta}/README.md") == card  # it says how the weights were made
    assert versions[0].tags["selfemo.digest"] in _card(context)

    kept = plain.samples(text, plain.rollouts(text, state[0], data, 1), 1)
    challenger = plain.train(text, state[0], kept, data, 1)
    policy, before, misses, _ = state
    after = plain.decide(text, policy, before, misses, challenger, plain.scores(text, challenger, data, 1), 1)
    assert after == (theta, scores, 1, False)  # nothing was kept: the loop is over
    assert len(context.registry.client.search_model_versions("name='self-emo'")) == 1
    rows = steps.finished_rounds(context)
    assert [r.promoted for r in rows] == [True, False]


def test_what_a_guard_stopped_is_made_champion_by_no_other_run(small_local: Config, tiny: Path) -> None:
    policy = weights(small_local, tiny)
    registry = Context(small_local).registry
    tags = {"selfemo.stopped": "collapse: all neutral"}
    assert registry.versions.register(policy, registry.round(1), tags) == "1"

    second = changed(small_local, run="second", warmup={"epochs": 0}, policy={"start": "models:/self-emo/1"})
    text, context = second.to_json(), Context(second)
    data = plain.prepare(text)
    start = plain.warmup(text, data)
    state = plain.decide(text, "", "", 0, start, plain.scores(text, start, data, 0), 0)
    assert state[0] == policy  # the run goes on from what it was told to
    assert context.registry.versions.alias(CHAMPION) is None
    assert context.registry.versions.get("1").tags["selfemo.stopped"] == "collapse: all neutral"
    said = context.registry.client.get_run(context.registry.round(0)).data.tags["selfemo.registry"]
    assert said == "the guard stopped it: collapse: all neutral"


def _card(context: Context) -> str:
    """The card of the first round's version."""
    tags = context.registry.client.get_run(context.registry.parent).data.tags
    uri = str(json.loads(tags["selfemo.decisions"])[0])
    decision = context.store.manifest(uri)
    assert decision is not None
    made = context.policies.find(str(decision.inputs["challenger"]))
    return model_card(context, decision, "1", made.uri, made.digest)
