"""What the warm-up learns from and what it sets apart, and a run that has only a warm-up or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from selfemo.config import Config
from selfemo.context import Context
from tests.component import plain
from tests.component.test_shards import same_records
from tests.conftest import there


def test_rounds_are_gated_on_labelled_dialogues_kept_from_the_warm_up(small_local: Config) -> None:
    from selfemo import config as configuration
    from selfemo.data.dialogue import read_jsonl
    from selfemo.errors import UserError

    data = small_local.model_dump()
    apart = configuration.Config.model_validate(data | {"warmup": data["warmup"] | {"dialogues": 12, "selection": 8}})
    files = Context(apart).store.fetch(plain.prepare(apart.to_json()))
    held_out = {d.id for d in read_jsonl(files / "held_out.jsonl")}
    training = {d.id for d in read_jsonl(files / "training.jsonl")}
    warm = set(yaml.safe_load((files / "warmup.json").read_text()))
    assert len(held_out) == 8
    assert len(warm) == 4
    assert warm < training
    assert not held_out & training
    assert all("/train/" in name for name in held_out)  # the evaluation split is left alone
    with pytest.raises(UserError, match=r"less than warmup\.dialogues"):
        configuration.load(None, ["warmup.dialogues=6", "warmup.selection=6"])
    greedy = configuration.Config.model_validate(data | {"warmup": {"dialogues": 5000, "selection": 4000}})
    with pytest.raises(UserError, match=r"none is left to learn from|no training dialogues are left"):
        plain.prepare(greedy.to_json())


def test_a_round_asks_every_voice_about_the_turns_that_are_kept_and_learns_none_of_them(small_local: Config) -> None:
    from selfemo import config as configuration
    from selfemo import steps
    from selfemo.data.dialogue import read_jsonl
    from selfemo.data.records import Rollout, Sample, read_records

    data = small_local.model_dump()
    data |= {"warmup": data["warmup"] | {"dialogues": 12, "selection": 8, "epochs": 0}}
    config = configuration.Config.model_validate(
        data | {"selfplay": data["selfplay"] | {"words": True, "cross_role": True}}
    )
    text, store = config.to_json(), Context(config).store
    prepared = plain.prepare(text)
    policy = plain.warmup(text, prepared)
    kept = {d.id: d for d in read_jsonl(store.fetch(prepared) / "held_out.jsonl")}
    made = {}
    for shards in (1, 3):
        launch = config.launch.model_copy(update={"shards": shards})
        cut = config.model_copy(update={"launch": launch, "run": f"cut-{shards}"})
        made[shards] = plain.rollouts(cut.to_json(), policy, prepared, 1)
    rows, same = (list(read_records(store.fetch(uri) / "rollouts.jsonl.gz", Rollout)) for uri in made.values())
    same_records(rows, same)
    apart = [r for r in rows if r.held_out]
    assert [r.gold for r in apart] == [turn.gold for dialogue in kept.values() for turn in dialogue.turns]
    assert {r.dialogue for r in rows if not r.held_out}.isdisjoint(kept)
    asked = [r for r in rows if r.task == "understanding"]
    assert all({"responder", "words"} < set(r.posteriors) for r in asked)
    uri = steps.filter(config, made[1], 1).uri
    samples = list(read_records(store.fetch(uri) / "samples.jsonl.gz", Sample))
    assert samples
    assert {s.dialogue for s in samples}.isdisjoint(kept)
    told = json.loads((store.fetch(uri) / "filter.json").read_text())["metrics"]
    weights = [told[f"voice_weight/sample/{name}"] for name in ("recogniser", "responder", "words")]
    assert weights != [1.0, 0.2, 0.5]


def test_no_rounds_is_the_warm_up_alone(small_local: Config) -> None:
    alone = small_local.model_copy(update={"loop": small_local.loop.model_copy(update={"rounds": 0})})
    text = alone.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    scores = plain.scores(text, policy, data, 0)
    assert plain.decide(text, "", "", 0, policy, scores, 0) == (policy, scores, 0, False)


def test_a_run_that_starts_warmed_up_keeps_its_base_and_still_sets_dialogues_apart(small_local: Config) -> None:
    settings = small_local.model_copy(update={"warmup": small_local.warmup.model_copy(update={"epochs": 0})})
    text = settings.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    context = Context(settings)
    assert there(context.store.manifest(policy)).result["steps"] == 0
    chosen = json.loads((context.store.fetch(data) / "warmup.json").read_text())
    assert len(chosen) == settings.warmup.dialogues


def test_a_base_that_is_exported_anew_to_the_same_directory_is_warmed_up_anew(
    small_local: Config, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(small_local.policy.base, tmp_path / "base")
    data = small_local.model_dump()
    config = Config.model_validate(
        data | {"policy": data["policy"] | {"base": str(base)}, "warmup": data["warmup"] | {"epochs": 0}}
    )
    text, store = config.to_json(), Context(config).store
    prepared = plain.prepare(text)
    before = plain.warmup(text, prepared)
    assert plain.warmup(text, prepared) == before
    weights = base / "model.safetensors"
    save_file({k: v * 1.5 for k, v in load_file(weights).items()}, weights, metadata={"format": "pt"})
    after = plain.warmup(text, prepared)
    assert after != before
    assert there(store.manifest(after)).result["policy"] != there(store.manifest(before)).result["policy"]
