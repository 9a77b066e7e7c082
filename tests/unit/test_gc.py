"""`selfemo gc` removes what nothing needs, and nothing else. On the embedded S3: tests/integration/test_servers.py."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfemo import config as configuration
from selfemo.cli import main
from selfemo.config import Config
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.gc import collect
from selfemo.gc.needs import recorded
from selfemo.store.artifacts import MANIFEST
from selfemo.store.backends import LocalBackend
from selfemo.store.checkpoints import Checkpoints, place


class Stores:
    """A store in a directory and MLflow in a file, with artifacts at the places that steps give them."""

    def __init__(self, folder: Path, mlflow: str) -> None:
        self.folder, self.settings = (
            folder,
            [
                f"workdir={folder / 'w'}",
                f"store.root={(folder / 's').as_uri()}",
                f"mlflow.tracking_uri={mlflow}",
            ],
        )
        self.context = self.of("demo")
        self.store, self.client = self.context.store, self.context.registry.client

    def config(self, run: str) -> Config:
        return configuration.load(None, [f"run={run}", *self.settings])

    def of(self, run: str) -> Context:
        return Context(self.config(run))

    def begin(self, run: str) -> Context:
        context = self.of(run)
        _ = context.registry.parent
        return context

    def end(self, context: Context, *decisions: str, prepared: str = "") -> None:
        """What prepare, decide and report leave in MLflow."""
        registry = context.registry
        tags = {"selfemo.decisions": json.dumps(decisions), "selfemo.prepared": prepared}
        registry.tags(registry.parent, tags)
        registry.finish(registry.parent)

    def put(
        self, place: str, inputs: dict[str, Any] | None = None, files: tuple[str, ...] = ("a",), **result: Any
    ) -> str:
        """URI of an artifact, at ``RUN/ROUND/STEP`` with a key of its own."""
        run, round, step = place.split("/")
        key = hashlib.sha256(f"{place}{sorted((inputs or {}).items())}".encode()).hexdigest()[:12]
        uri = self.store.uri(run, f"round-{round}", f"{step}-{key}")
        source = self.folder / "source" / key
        source.mkdir(parents=True, exist_ok=True)
        for name in files:
            (source / name).write_text(f"{name} of {uri}")
        self.store.publish(source, uri, step=step.removesuffix("_shard"), inputs=inputs or {}, result=result)
        return uri

    def grow_old(self) -> None:
        for path in (*self.folder.rglob("*"), self.folder):
            os.utime(path, (1e9, 1e9), follow_symlinks=False)

    def plan(self, **given: Any) -> collect.Plan:
        return collect.plan(Context(self.context.config), **given)

    def goes(self, **given: Any) -> set[str]:
        return {leftover.uri for leftover in self.plan(**given).leftovers}

    def round(self, run: str, number: int = 1) -> dict[str, str]:
        """A round as the steps make it."""
        made = {"prepare": self.put(f"{run}/0/prepare")}
        made["parent"] = self.put(f"{run}/0/warmup", {"prepared": made["prepare"]})
        made["shard"] = self.put(f"{run}/{number}/generate", {"policy": made["parent"], "shard": 0})
        made["gather"] = self.put(f"{run}/{number}/gather", {"policy": made["parent"], "prepared": made["prepare"]})
        made["filter"] = self.put(f"{run}/{number}/filter", {"rollouts": made["gather"]})
        given = {"policy": made["parent"], "samples": made["filter"], "prepared": made["prepare"]}
        made["train"] = self.put(f"{run}/{number}/train", given)
        made["score"] = self.put(f"{run}/{number}/score", {"policy": made["train"], "prepared": made["prepare"]})
        given = {
            "challenger": made["train"],
            "scores": made["score"],
            "champion": made["parent"],
            "champion_scores": "",
        }
        made["decide"] = self.put(f"{run}/{number}/decide", given, policy=made["train"], scores=made["score"])
        return made


@pytest.fixture
def stores(elsewhere: Path, mlflow_file: str) -> Stores:
    return Stores(elsewhere, mlflow_file)


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
    made = stores.put("cell/0/warmup")
    stores.end(stores.begin("cell"))
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
    assert recorded([Path(__file__).parents[2] / "docs" / "results"])


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


def test_of_uploads_that_were_cut_off_only_old_ones_go_and_the_one_that_counts_stays(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.begin("demo")
    whole = stores.put("demo/0/warmup")
    source = stores.folder / "x"
    source.mkdir()
    (source / "a").write_text("half")
    half = stores.store.uri("demo", "round-1", "train-" + "0" * 12)
    for uri in (whole, half):
        stores.store.backend(uri).upload(source / "a", f"{uri}/files-cut/a")
    stores.grow_old()
    assert stores.goes() == {f"{whole}/files-cut", half}
    stores.store.backend(half).upload(source / "a", f"{half}/files-new/a")  # somebody is at it just now
    assert stores.goes() == {f"{whole}/files-cut", f"{half}/files-cut"}
    collect.delete(stores.context, stores.plan())
    assert (stores.store.fetch(whole) / "a").is_file()
    assert [u.rsplit("/", 2)[1] for u in stores.store.backend(half).list(half)] == ["files-new"]


def test_checkpoints_stay_with_an_unfinished_run_and_go_with_a_finished_one(stores: Stores) -> None:
    """A step that has published removes its own: these are of steps that were killed, and never done again."""
    source = stores.folder / "checkpoint-8"
    source.mkdir()
    (source / "optimizer.pt").write_text("state")
    kept = {}
    for run in ("going", "demo", "strange"):
        step = stores.store.uri(run, "round-1", "train-0123456789ab")
        kept[run] = Checkpoints(stores.store, f"{place(stores.store, step)}/ddp-1")
        kept[run].save(source, "checkpoint-8")
    stores.begin("going")
    stores.end(stores.begin("demo"))
    assert stores.goes() == set()  # it was written lately
    stores.grow_old()
    plan = stores.plan()
    assert [x.uri for x in plan.leftovers] == [stores.store.uri("demo", "checkpoints", "round-1", "train-0123456789ab")]
    assert plan.unknown == ["strange"]
    collect.delete(stores.context, plan)
    assert [kept[run].newest() for run in kept] == ["checkpoint-8", None, "checkpoint-8"]


def test_checkpoints_of_a_run_that_begins_again_meanwhile_stay(stores: Stores) -> None:
    source = stores.folder / "checkpoint-8"
    source.mkdir()
    (source / "optimizer.pt").write_text("state")
    kept = Checkpoints(stores.store, f"{stores.store.root}/demo/checkpoints/round-1/train-0123456789ab/ddp-1")
    kept.save(source, "checkpoint-8")
    context = stores.begin("demo")
    stores.end(context)
    stores.grow_old()
    found = stores.plan()
    context.registry.reopen(context.registry.parent)
    assert collect.delete(stores.context, found) == ["demo"]
    assert kept.newest() == "checkpoint-8"


def test_what_was_written_lately_stays(stores: Stores) -> None:
    made = stores.put("demo/0/warmup")
    stores.end(stores.begin("demo"))
    assert stores.goes() == set()
    assert stores.goes(older=0.0) == {made}


def test_what_this_layout_did_not_make_is_never_touched(stores: Stores) -> None:
    backend, root = stores.store.backend(stores.store.root), stores.store.root
    (stores.folder / "f").write_text("theirs")
    names = (
        "mlflow/1/run/artifacts/a",
        "locks/promotion-self-emo",
        "corpora/meld/train.csv",
        "demo/notes.txt",
        "demo/round-1/train-new/a",
        "demo/round-1/other-0123456789ab/a",
        "mlflow/round-1/train-0123456789ab/a",
    )
    for name in names:
        backend.upload(stores.folder / "f", f"{root}/{name}")
    stores.end(stores.begin("demo"))
    stores.grow_old()
    assert stores.goes() == set()


def test_caches_and_scratch_of_this_machine_go_with_what_they_are_of(stores: Stores) -> None:
    kept = stores.put("going/0/warmup")
    gone = stores.put("demo/0/warmup")
    stores.begin("going")
    stores.end(stores.begin("demo"))
    here, gone_here = stores.store.fetch(kept), stores.store.fetch(gone)
    scratch = stores.context.workdir / "scratch"
    for run in ("going", "demo", "of-another-store"):
        (scratch / run / "1-train-0123456789ab").mkdir(parents=True)
    cut = stores.store.cache / ".partial-x"
    cut.mkdir()
    stores.grow_old()
    found = stores.plan()
    assert {x.uri for x in found.leftovers if x.run == collect.HERE} == {
        str(gone_here),
        str(cut),
        str(scratch / "demo" / "1-train-0123456789ab"),
    }
    collect.delete(stores.context, found)
    assert here.is_dir() and not gone_here.exists() and not cut.exists()
    assert stores.goes() == set()


def test_an_interrupted_removal_leaves_no_half_artifact_and_can_be_done_again(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stores.put("demo/0/warmup")
    stores.end(stores.begin("demo"))
    stores.grow_old()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBackend, "remove_tree", killed)
    with pytest.raises(KeyboardInterrupt):
        collect.delete(stores.context, stores.plan())
    monkeypatch.undo()
    assert list(stores.store.backend(made).list(made))
    assert stores.store.backend(made).read(f"{made}/{MANIFEST}") is None  # nobody takes it for whole
    stores.grow_old()
    collect.delete(stores.context, stores.plan())
    assert list(stores.store.backend(made).list(made)) == []


def test_a_run_that_begins_again_meanwhile_keeps_its_own(stores: Stores) -> None:
    made = stores.put("demo/0/warmup")
    context = stores.begin("demo")
    stores.end(context)
    stores.grow_old()
    found = stores.plan()
    context.registry.reopen(context.registry.parent)
    assert collect.delete(stores.context, found) == ["demo"]
    assert stores.store.fetch(made).is_dir()


def test_an_mlflow_that_cannot_be_read_removes_nothing(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    stores.put("demo/0/warmup")
    stores.end(stores.begin("demo"))
    stores.grow_old()

    def down(*_: object, **__: object) -> None:
        raise MlflowException("no answer")

    monkeypatch.setattr(MlflowClient, "search_model_versions", down)
    settings = [part for setting in stores.settings for part in ("--set", setting)]
    result = CliRunner().invoke(main, ["gc", "--delete", *settings])
    assert (result.exit_code, "no answer" in result.output) == (2, True)
    monkeypatch.undo()
    assert len(stores.goes()) == 1


def test_the_command_says_what_would_go_and_does_it_when_told(stores: Stores) -> None:
    made = stores.put("demo/0/warmup")
    stores.put("strange/0/warmup")
    stores.end(stores.begin("demo"))
    stores.grow_old()
    command = ["gc", *(part for setting in stores.settings for part in ("--set", setting))]
    said = CliRunner().invoke(main, command).output
    assert "demo" in said and "do it with --delete" in said
    assert "strange: no run of this MLflow" in said
    assert stores.store.manifest(made) is not None
    assert CliRunner().invoke(main, [*command, "--records", "nowhere"]).exit_code == 2
    assert "removed" in CliRunner().invoke(main, [*command, "--delete"]).output
    assert stores.store.manifest(made) is None
    assert "nothing to remove" in CliRunner().invoke(main, command).output
