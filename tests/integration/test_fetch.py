"""Weights brought to a machine by real processes: at once, killed, and again."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.serving.command import fetch
from selfemo.store.artifacts import Manifest, Store

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "onnx/model.onnx": b"more"}
SECONDS = 120
"""That a process is waited for before the test fails."""

FETCH = """
import os, signal, sys
from pathlib import Path
from selfemo import config as configuration
from selfemo.serving.command import fetch
from selfemo.store import artifacts, marks
from selfemo.store.backends import LocalBackend

what, root, uri, place, log, moment = sys.argv[1:]

def told(module, name):
    done = getattr(module, name)
    def work(*arguments, **named):
        said = f"{name} {Path(str(arguments[-1])).name}"
        with open(log, "a") as out:
            print(said, file=out, flush=True)
        if moment == "before " + said: os.kill(os.getpid(), signal.SIGKILL)
        found = done(*arguments, **named)
        if moment == "after " + said: os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(module, name, work)

told(LocalBackend, "download")
told(artifacts, "sha256")
told(os, "replace")
told(os, "rename")
if what == "store":
    print((artifacts.Store(root, Path(place)).fetch(uri) / "model.safetensors").read_text())
else:
    config = configuration.load(None, [f"store.root={root}", f"workdir={place}.work"])
    print(fetch(config, uri, "", Path(place)))
"""


@pytest.fixture
def published(tmp_path: Path) -> tuple[Store, str, Manifest]:
    store = Store((tmp_path / "root").as_uri(), tmp_path / "cache")
    for name, data in FILES.items():
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(data)
    return store, store.uri("x"), store.publish(tmp_path / "d", store.uri("x"), step="s")


def start(what: str, store: Store, uri: str, place: Path, log: Path, moment: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, what, store.root, uri, str(place), str(log), moment]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and what it printed; it is killed, and the test fails, if it hangs."""
    try:
        out, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode, out.strip() if process.returncode <= 0 else errors


def said(log: Path) -> Counter[str]:
    return Counter(log.read_text().splitlines() if log.exists() else [])


def contents(directory: Path) -> dict[str, bytes]:
    """What lies in a directory, but for what `fetch` keeps of its own."""
    files = [p for p in directory.rglob("*") if p.is_file() and not p.relative_to(directory).parts[0].startswith(".")]
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in files}


def test_of_many_processes_one_brings_and_hashes_and_all_have_it(
    published: tuple[Store, str, Manifest], tmp_path: Path
) -> None:
    store, uri, _ = published
    processes = [start("store", store, uri, store.cache, tmp_path / "log") for _ in range(4)]
    assert [ended(p) for p in processes] == [(0, "weights")] * 4
    seen = said(tmp_path / "log")
    assert all(seen[f"download {Path(name).name}"] == seen[f"sha256 {Path(name).name}"] == 1 for name in FILES)


def test_readers_of_what_is_verified_wait_for_no_other_reader(
    published: tuple[Store, str, Manifest], tmp_path: Path
) -> None:
    store, uri, manifest = published
    store.fetch(uri)
    with (store.cache / f".{manifest.digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # another reader, in the middle of its look
        assert ended(start("store", store, uri, store.cache, tmp_path / "log")) == (0, "weights")
    assert not [line for line in said(tmp_path / "log") if line.startswith(("sha256", "download"))]


MOMENTS = [
    "before download model.safetensors",
    "after download model.safetensors",
    "before sha256 model.safetensors",
    "after sha256 model.onnx",
]


@pytest.mark.parametrize(
    "moment", [*MOMENTS, "before rename DIGEST", "after rename DIGEST", "before replace .DIGEST.verified"]
)
def test_a_process_killed_while_it_brings_an_artifact_leaves_nothing_in_the_way(
    published: tuple[Store, str, Manifest], tmp_path: Path, moment: str
) -> None:
    store, uri, manifest = published
    moment = moment.replace("DIGEST", manifest.digest)
    assert ended(start("store", store, uri, store.cache, tmp_path / "log", moment))[0] == -signal.SIGKILL
    assert contents(store.fetch(uri)) == FILES
    assert not list(store.cache.glob(".partial-*"))


MOVES = [
    f"{when} rename {name}" for name in ("config.json", "model.safetensors", "onnx") for when in ("before", "after")
]


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize(
    "moment", [*MOMENTS, *MOVES, "before replace .selfemo-digest", "after replace .selfemo-digest"]
)
def test_a_fetch_that_was_killed_succeeds_when_it_is_tried_again(
    published: tuple[Store, str, Manifest], tmp_path: Path, moment: str, mounted: bool
) -> None:
    store, uri, manifest = published
    out = tmp_path / "model"
    if mounted:
        out.mkdir()
    assert ended(start("fetch", store, uri, out, tmp_path / "log", moment))[0] == -signal.SIGKILL
    assert ended(start("fetch", store, uri, out, tmp_path / "log")) == (0, manifest.digest)
    assert contents(out) == FILES
    assert not [p for p in out.iterdir() if p.is_dir() and p.name.startswith(".")], "nothing is left of the first try"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_what_a_killed_fetch_of_an_earlier_version_left_is_no_hindrance(
    config: Config, published: tuple[Store, str, Manifest], tmp_path: Path
) -> None:
    out = tmp_path / "model"
    (out / ".selfemo-a1b2c3d4" / published[2].digest).mkdir(parents=True)
    assert fetch(config, published[1], "", out) == published[2].digest
    assert contents(out) == FILES
    assert not (out / ".selfemo-a1b2c3d4").exists()


@pytest.fixture
def config(published: tuple[Store, str, Manifest], tmp_path: Path) -> Config:
    return configuration.load(None, [f"store.root={published[0].root}", f"workdir={tmp_path / 'work'}"])


def test_two_fetches_into_one_directory_bring_it_once(published: tuple[Store, str, Manifest], tmp_path: Path) -> None:
    store, uri, manifest = published
    processes = [start("fetch", store, uri, tmp_path / "model", tmp_path / "log") for _ in range(3)]
    assert [ended(p) for p in processes] == [(0, manifest.digest)] * 3
    assert said(tmp_path / "log")["download model.safetensors"] == 1
    assert contents(tmp_path / "model") == FILES


def test_weights_that_were_changed_where_they_were_fetched_are_fetched_again(
    config: Config, published: tuple[Store, str, Manifest], tmp_path: Path
) -> None:
    out = tmp_path / "model"
    fetch(config, published[1], "", out)
    (out / "model.safetensors").write_bytes(b"Weights")
    fetch(config, published[1], "", out)
    assert contents(out) == FILES


def test_other_weights_and_files_of_others_are_never_replaced(
    config: Config, published: tuple[Store, str, Manifest], tmp_path: Path
) -> None:
    store, uri, _ = published
    out = tmp_path / "model"
    fetch(config, uri, "", out)
    (tmp_path / "d" / "config.json").write_bytes(b"{1}")
    store.publish(tmp_path / "d", store.uri("y"), step="s")
    with pytest.raises(UserError, match="holds something else"):
        fetch(config, store.uri("y"), "", out)
    assert contents(out) == FILES
    (out / "mine").write_text("x")
    (out / "config.json").unlink()
    with pytest.raises(UserError, match=r"holds something else: mine"):
        fetch(config, uri, "", out)
    assert (out / "mine").read_text() == "x"


def test_a_fetch_that_fails_leaves_the_directory_as_it_was(
    config: Config, published: tuple[Store, str, Manifest], tmp_path: Path
) -> None:
    _, uri, manifest = published
    file = tmp_path / "root" / "x" / manifest.files_at / "model.safetensors"
    file.write_bytes(b"evil")
    for out in (tmp_path / "model", tmp_path / "mount"):
        if out.name == "mount":
            out.mkdir()
        with pytest.raises(UserError, match=r"model\.safetensors differs"):
            fetch(config, uri, "", out)
        assert contents(out) == {}
    file.write_bytes(FILES["model.safetensors"])
    assert fetch(config, uri, "", tmp_path / "model") == manifest.digest
    assert os.listdir(tmp_path / "model")


def test_bytes_that_rotted_without_a_write_are_found_by_the_next_fetch(
    config: Config, published: tuple[Store, str, Manifest], tmp_path: Path
) -> None:
    out = tmp_path / "model"
    fetch(config, published[1], "", out)
    file = out / "model.safetensors"
    before = file.stat()
    file.write_bytes(b"Weights")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nobody had been there
    fetch(config, published[1], "", out)
    assert contents(out) == FILES


def test_a_volume_with_what_its_file_system_keeps_there_is_empty(
    config: Config, published: tuple[Store, str, Manifest], tmp_path: Path
) -> None:
    out = tmp_path / "volume"
    (out / "lost+found").mkdir(parents=True)
    for _ in range(2):
        assert fetch(config, published[1], "", out) == published[2].digest
    assert contents(out) == FILES
    assert (out / "lost+found").is_dir()
