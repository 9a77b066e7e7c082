"""What goes besides whole artifacts: old uploads that were cut off, caches, scratch; and what is never touched."""

from __future__ import annotations

from selfemo.gc import collect
from selfemo.store.checkpoints import Checkpoints, place
from tests.unit.gc.stores import Stores


def test_of_uploads_that_were_cut_off_only_old_ones_go_and_the_one_that_counts_stays(stores: Stores) -> None:
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


def test_files_that_a_killed_writer_did_not_come_to_rename_go_and_locks_stay(stores: Stores) -> None:
    stores.begin("demo")
    whole = stores.put("demo/0/warmup")
    backend = stores.store.backend(whole)
    (stores.folder / "f").write_text("half")
    for name in (".tmp-abc", ".probe-abc", ".tmp-x.lock"):
        backend.upload(stores.folder / "f", f"{whole}/{name}")
    stores.grow_old()
    assert stores.goes() == {f"{whole}/.tmp-abc", f"{whole}/.probe-abc"}
    collect.delete(stores.context, stores.plan())
    assert stores.goes() == set()
    assert (stores.store.fetch(whole) / "a").is_file()
    assert backend.read(f"{whole}/.tmp-x.lock") is not None
