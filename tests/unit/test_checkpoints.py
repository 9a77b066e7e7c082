"""Checkpoints in the store: which count, which are removed, and that no damaged one is used."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfemo.errors import CorruptArtifact
from selfemo.store.artifacts import MANIFEST, Store
from selfemo.store.backends import LocalBackend
from selfemo.store.checkpoints import Checkpoints, forget, place
from selfemo.training import checkpoints as module
from selfemo.training.checkpoints import Keeper, restore


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "store").as_uri(), tmp_path / "cache")


@pytest.fixture
def kept(store: Store) -> Checkpoints:
    return Checkpoints(store, f"{place(store, store.uri('demo', 'round-1', 'train-0123456789ab'))}/ddp-1")


def checkpoint(directory: Path, step: int, *names: str) -> Path:
    """A checkpoint as Trainer leaves it, with files in directories of their own as DeepSpeed does."""
    made = directory / f"checkpoint-{step}"
    for name in names or ("model.safetensors", "global_step/optim.pt", "trainer_state.json"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(f"{name} at {step}")
    return made


def files(directory: Path) -> dict[str, str]:
    return {p.relative_to(directory).as_posix(): p.read_text() for p in directory.rglob("*") if p.is_file()}


def test_they_lie_beside_the_rounds_of_their_run(store: Store) -> None:
    assert place(store, store.uri("demo", "round-1", "train-ab")) == store.uri("demo/checkpoints/round-1/train-ab")


def test_what_was_saved_is_fetched_and_only_the_newest_is_kept(kept: Checkpoints, tmp_path: Path) -> None:
    assert kept.newest() is None
    for step in (8, 16):
        saved = checkpoint(tmp_path / "made", step)
        kept.save(saved, saved.name)
    assert kept.newest() == "checkpoint-16"
    names = [found.name for found in kept.store.backend(kept.uri).scan(kept.uri)]
    assert {name.split("/")[0] for name in names} == {"checkpoint-16"}
    kept.fetch("checkpoint-16", tmp_path / "checkpoint-16")
    assert files(tmp_path / "checkpoint-16") == files(saved)


def test_an_upload_that_was_cut_off_does_not_count_and_takes_nothing_away(
    kept: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.save(checkpoint(tmp_path, 8), "checkpoint-8")

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "create", killed)  # all files are there, the manifest is not
        with pytest.raises(KeyboardInterrupt):
            kept.save(checkpoint(tmp_path, 16), "checkpoint-16")
    assert kept.newest() == "checkpoint-8"


def test_of_two_disks_both_parts_make_a_checkpoint_and_each_gets_the_whole(kept: Checkpoints, tmp_path: Path) -> None:
    disks = [Checkpoints(kept.store, kept.uri, disk, 2) for disk in (0, 1)]
    own = [("model.safetensors", "rng_state_0.pth", "trainer_state.json"), ("rng_state_1.pth", "global_step/rank1.pt")]
    for step in (8, 16):
        for disk, names in zip(disks, own, strict=True):
            disk.save(checkpoint(tmp_path / f"disk-{disk.disk}", step, *names), f"checkpoint-{step}")
            done = step if disk.disk else step - 8
            assert disk.newest() == (f"checkpoint-{done}" if done else None)
    disks[1].fetch("checkpoint-16", tmp_path / "whole")
    assert set(files(tmp_path / "whole")) == {*own[0], *own[1]}


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_checkpoint_whose_files_are_not_what_was_saved_is_not_there(
    kept: Checkpoints, tmp_path: Path, damage: str
) -> None:
    kept.save(checkpoint(tmp_path / "made", 8), "checkpoint-8")
    (file,) = (tmp_path / "store").rglob("optim.pt")
    file.unlink()
    if damage == "changed":
        file.write_text("x" * len("global_step/optim.pt at 8"))
    (tmp_path / "here").mkdir()
    with pytest.raises(CorruptArtifact):
        kept.fetch("checkpoint-8", tmp_path / "here" / "checkpoint-8")
    assert not list((tmp_path / "here").iterdir())


def test_a_damaged_manifest_makes_no_checkpoint_and_the_one_before_it_counts(kept: Checkpoints, tmp_path: Path) -> None:
    kept.save(checkpoint(tmp_path, 8), "checkpoint-8")
    half = f"{kept.uri}/checkpoint-16/part-0/{MANIFEST}"
    assert kept.store.backend(half).create(half, b'{"step": "checkp')
    assert kept.newest() == "checkpoint-8"


def test_an_interrupted_removal_leaves_no_checkpoint(
    kept: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.save(checkpoint(tmp_path, 8), "checkpoint-8")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "remove_tree", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.remove_others(None)
    assert kept.newest() is None


def test_a_published_step_forgets_those_of_any_number_of_processes(store: Store, tmp_path: Path) -> None:
    step, other = (store.uri("demo", "round-1", f"train-{key * 12}") for key in "ab")
    for uri in (f"{place(store, step)}/ddp-1", f"{place(store, step)}/zero3-8", f"{place(store, other)}/ddp-1"):
        Checkpoints(store, uri).save(checkpoint(tmp_path, 8), "checkpoint-8")
    forget(store, step)
    markers = [u for u in store.backend(store.root).list(store.root) if u.endswith(MANIFEST)]
    assert [u.split("/train-")[1][:12] for u in markers] == ["b" * 12]


def test_a_new_machine_goes_on_from_the_stores_and_an_old_one_from_its_own(kept: Checkpoints, tmp_path: Path) -> None:
    kept.save(checkpoint(tmp_path / "made", 8), "checkpoint-8")
    assert restore(tmp_path / "new", kept) == str(tmp_path / "new" / "checkpoint-8")
    checkpoint(tmp_path / "old", 16)
    assert restore(tmp_path / "old", kept) == str(tmp_path / "old" / "checkpoint-16")
    assert restore(tmp_path / "apart", None) is None


def test_a_damaged_one_is_removed_and_training_begins_anew(
    kept: Checkpoints, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept.save(checkpoint(tmp_path / "made", 8), "checkpoint-8")
    next((tmp_path / "store").rglob("optim.pt")).write_text("damaged")
    with caplog.at_level("WARNING", "selfemo"):
        assert restore(tmp_path / "new", kept) is None
    assert "training begins anew" in caplog.text
    assert kept.newest() is None


def test_parts_of_a_later_one_from_before_do_not_complete_one_that_is_made_now(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine of part 0 was lost before it had uploaded: its successor makes that checkpoint again."""
    disks = [Checkpoints(store, store.uri("demo/checkpoints/round-1/train-ab/zero3-2"), disk, 2) for disk in (0, 1)]
    for disk in disks:
        disk.save(checkpoint(tmp_path / f"disk-{disk.disk}", 8, f"rank{disk.disk}.pt"), "checkpoint-8")
    disks[1].save(checkpoint(tmp_path / "disk-1", 16, "rank1.pt"), "checkpoint-16")
    restore(tmp_path / "new", disks[0])
    disks[0].save(checkpoint(tmp_path / "disk-0", 16, "rank0.pt"), "checkpoint-16")
    assert disks[0].newest() == "checkpoint-8"


def test_on_several_disks_what_a_machine_has_kept_is_no_checkpoint(store: Store, tmp_path: Path) -> None:
    """It has a part of one; ranks that go on from different steps would wait for each other for ever."""
    kept = Checkpoints(store, store.uri("demo/checkpoints/round-1/train-ab/ddp-2"), 0, 2)
    checkpoint(tmp_path / "disk", 16)
    assert restore(tmp_path / "disk", kept) is None


def saved(keeper: Keeper, step: int) -> None:
    keeper.on_save(None, SimpleNamespace(global_step=step), None)


def test_a_copy_that_fails_is_a_warning_and_the_next_one_is_tried(
    kept: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper(tmp_path / "work", kept)

    def away(*_: object) -> None:
        raise ConnectionError("no answer")

    with monkeypatch.context() as patch, caplog.at_level("WARNING", "selfemo"):
        patch.setattr(LocalBackend, "upload", away)
        checkpoint(tmp_path / "work", 8)
        saved(keeper, 8)
        keeper.finish()
    assert "checkpoint-8 could not be copied to the store (ConnectionError: no answer)" in caplog.text
    checkpoint(tmp_path / "work", 16)
    saved(keeper, 16)
    keeper.finish()
    assert kept.newest() == "checkpoint-16"
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == ["checkpoint-16", "checkpoint-8"]


def test_a_slow_store_holds_nothing_up_and_gets_the_whole_of_what_is_removed_here_meanwhile(
    kept: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, answers = Keeper(tmp_path / "work", kept), threading.Event()
    upload = LocalBackend.upload

    def slow(self: LocalBackend, path: Path, uri: str) -> None:
        answers.wait(60)
        upload(self, path, uri)

    monkeypatch.setattr(LocalBackend, "upload", slow)
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    made = checkpoint(tmp_path / "work", 8)
    expected = files(made)
    with caplog.at_level("INFO", "selfemo"):
        saved(keeper, 8)
        shutil.rmtree(made)  # Trainer keeps two
        checkpoint(tmp_path / "work", 16)
        saved(keeper, 16)
        keeper.finish()
        assert "checkpoint-16 is not copied to the store: the one before it is still on its way" in caplog.text
        assert "left behind" in caplog.text
        answers.set()
        assert keeper.upload is not None
        keeper.upload.join(60)
    assert kept.newest() == "checkpoint-8"
    kept.fetch("checkpoint-8", tmp_path / "fetched")
    assert files(tmp_path / "fetched") == expected


def test_if_one_machine_is_not_ready_none_copies(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the newest part of one and that of another would be of different checkpoints."""
    kept = Checkpoints(store, store.uri("demo/checkpoints/round-1/train-ab/zero3-2"), 1, 2)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    keeper = Keeper(tmp_path, kept)
    for step, first_is_busy in ((8, False), (16, True)):
        monkeypatch.setattr(module, "gather_object", lambda mine, busy=first_is_busy: [busy, *mine])
        checkpoint(tmp_path, step)
        saved(keeper, step)
        keeper.finish()
    names = [found.name for found in store.backend(kept.uri).scan(kept.uri)]
    assert {name.split("/part-")[0] for name in names} == {"checkpoint-8"}
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-16"]  # it also keeps its disk from filling
