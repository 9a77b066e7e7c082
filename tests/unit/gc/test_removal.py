"""How things are removed: when told, again after an interruption, and not while a run goes on or MLflow is away."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from selfemo.cli import main
from selfemo.gc import collect
from selfemo.store.artifacts import MANIFEST
from selfemo.store.backends import LocalBackend
from selfemo.store.checkpoints import Checkpoints
from tests.unit.gc.stores import Stores


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


@pytest.mark.parametrize("status", ["RUNNING", "FAILED"])
def test_a_run_that_begins_again_meanwhile_keeps_its_own(stores: Stores, status: str) -> None:
    made = stores.put("demo/0/warmup")
    (stores.folder / "checkpoint-8").mkdir()
    (stores.folder / "checkpoint-8" / "optimizer.pt").write_text("state")
    kept = Checkpoints(stores.store, f"{stores.store.root}/demo/checkpoints/round-1/train-0123456789ab/ddp-1")
    kept.save(stores.folder / "checkpoint-8", "checkpoint-8")
    context = stores.begin("demo")
    stores.end(context)
    stores.grow_old()
    found = stores.plan()
    assert {x.uri for x in found.leftovers} >= {made, kept.uri.removesuffix("/ddp-1")}
    context.registry.reopen(context.registry.parent)
    if status != "RUNNING":
        context.registry.finish(context.registry.parent, status)
    assert collect.delete(stores.context, found) == ["demo"]
    assert stores.store.fetch(made).is_dir()
    assert kept.newest() == "checkpoint-8"


def test_all_runs_are_listed_once_for_the_plan_however_many_are_removed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    names = ("one", "two", "three")
    for name in names:
        stores.put(f"{name}/0/warmup")
        stores.end(stores.begin(name))
    stores.grow_old()
    asked: list[str] = []
    search = MlflowClient.search_runs

    def told(self: MlflowClient, experiments: list[str], where: str = "", **rest: object) -> object:
        asked.append(where)
        return search(self, experiments, where, **rest)

    monkeypatch.setattr(MlflowClient, "search_runs", told)
    found = stores.plan()
    assert collect.delete(stores.context, found) == []
    assert asked == ["", *(f"tags.`selfemo.run` = '{name}'" for name in sorted(names))]
    assert stores.goes() == set()


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
