"""What a run, a version, another artifact or a study needs stays; the rest of known runs goes."""

from __future__ import annotations

import json

import pytest

from selfemo.errors import UserError
from selfemo.gc.needs import recorded
from tests.conftest import ROOT
from tests.unit.gc.stores import Stores


def test_an_unfinished_run_keeps_all_it_has_made_and_what_it_began_from(stores: Stores) -> None:
    base = stores.put("earlier/0/warmup")
    stores.end(stores.begin("earlier"))
    stores.begin("demo")
    stores.round("demo")
    stores.put("demo/0/warmup", {"base": base}, policy=base)
    stores.grow_old()
    assert stores.goes() == set()


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_failed_goes_on_some_day(stores: Stores, status: str) -> None:
    context = stores.begin("demo")
    stores.round("demo")
    stores.client.set_terminated(context.registry.parent, status)
    stores.grow_old()
    assert stores.goes() == set()


def test_a_finished_run_keeps_what_its_decisions_were_made_from_and_no_shards_or_earlier_attempts(
    stores: Stores,
) -> None:
    made = stores.round("demo")
    earlier = stores.put("demo/1/train", {"policy": "another"})
    stores.end(stores.begin("demo"), made["decide"], prepared=made["prepare"])
    stores.grow_old()
    assert stores.goes() == {made["shard"], earlier}


def test_a_version_keeps_its_weights_and_what_describes_them_when_its_run_is_deleted(stores: Stores) -> None:
    made = stores.round("demo")
    context = stores.begin("demo")
    stores.end(context, made["decide"], prepared=made["prepare"])
    tags = {"selfemo.scores": made["score"], "selfemo.decision": made["decide"]}
    version = context.registry.versions.register(made["train"], context.registry.parent, tags)
    stores.client.delete_run(context.registry.parent)
    stores.grow_old()
    assert stores.goes() == {made["shard"], made["gather"], made["parent"]}
    stores.client.delete_model_version("self-emo", version)
    assert stores.goes() == set(made.values())


def test_versions_of_every_model_count(stores: Stores) -> None:
    made = stores.put("demo/1/train")
    stores.end(stores.begin("demo"))
    stores.client.create_registered_model("another")
    stores.client.create_model_version("another", made, await_creation_for=0)
    stores.grow_old()
    assert stores.goes() == set()


def test_an_adapter_keeps_what_it_adapts_and_a_stand_in_what_it_stands_for(stores: Stores) -> None:
    base = stores.put("demo/0/warmup")
    adapter = stores.put("demo/1/train", {"policy": base}, files=("adapter_config.json",))
    stand_in = stores.put("demo/2/train", {"policy": adapter}, policy=adapter)
    whole = stores.put("demo/3/train", {"policy": stand_in})
    stores.end(stores.begin("demo"))
    stores.client.create_registered_model("self-emo")
    stores.client.create_model_version("self-emo", stand_in, await_creation_for=0)
    stores.grow_old()
    assert stores.goes() == {whole}


def test_a_shared_base_goes_with_the_last_run_that_began_from_it(stores: Stores) -> None:
    stores.begin("demo")
    (stores.folder / "weights").mkdir()
    (stores.folder / "weights" / "w").write_text("w")
    base = stores.store.publish_by_content(stores.folder / "weights", "bases", step="base")
    stand_in = stores.put("demo/0/warmup", {"base": "pypi:x"}, policy=base)
    stores.grow_old()
    assert stores.goes() == set()
    stores.end(stores.begin("demo"))
    assert stores.goes() == {base, stand_in}


def test_policies_that_a_study_recorded_stay(stores: Stores) -> None:
    made = stores.put("study/0/warmup")
    stores.end(stores.begin("study"))
    stores.grow_old()
    assert stores.goes() == {made}
    records = stores.folder / "results" / "more" / "runs"
    records.mkdir(parents=True)
    (records / "8-warm-up-1.json").write_text(json.dumps({"policy": made}))
    assert stores.goes(records=[stores.folder / "results"]) == set()
    (records / "8-warm-up-1.json").write_text("{}")
    with pytest.raises(UserError, match="not a record of a study"):
        stores.plan(records=[stores.folder / "results"])


def test_the_records_of_this_repository_are_found() -> None:
    """A folder that is looked for under another name than studies write would keep nothing."""
    assert recorded([ROOT / "docs" / "results"])


def test_runs_that_this_mlflow_does_not_know_are_left_alone_with_what_they_need(stores: Stores) -> None:
    base = stores.put("known/0/warmup")
    stores.put("elsewhere/0/warmup", {"base": base}, policy=base)
    stores.end(stores.begin("known"))
    stores.grow_old()
    plan = stores.plan()
    assert (list(plan.leftovers), plan.unknown) == ([], ["elsewhere"])


def test_a_run_that_kubeflow_recorded_is_known_by_its_configuration(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.put("cloud/0/prepare")
    run = stores.client.create_run("0").info.run_id
    stores.client.log_param(run, "run", "cloud")
    stores.client.log_param(run, "policy.base", "pypi:x")
    stores.grow_old()
    plan = stores.plan()
    assert (list(plan.leftovers), plan.unknown) == ([], [])
    stores.client.set_terminated(run, "FINISHED")
    assert len(stores.goes()) == 1
