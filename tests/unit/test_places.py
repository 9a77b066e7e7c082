"""Directories of a process: private, and gone with it however it ends."""

from __future__ import annotations

import ast
import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from selfemo import places
from selfemo.places import private, temporary
from tests.conftest import ROOT

KILLED = "import os; from selfemo.places import temporary; c = temporary('x'); c.__enter__(); os.kill(os.getpid(), 9)"


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_killed_process_leaves_nothing_that_the_next_one_does_not_remove(top: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(top)}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(top.iterdir())) == 1
    with temporary("y") as mine:
        assert [p.name for p in top.iterdir()] == [mine.parent.name]
        with temporary("z"):
            assert mine.is_dir(), "who lives keeps his"
    assert list(top.iterdir()) == []


def test_a_directory_that_another_process_takes_for_a_dead_ones_is_made_again(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its lock's being there and being held."""
    real, taken = fcntl.flock, list[Path]()

    def flock(lock: Any, how: int) -> None:
        if how == fcntl.LOCK_EX and not taken:
            taken.extend(top.iterdir())
            places._sweep(top)
            assert list(top.iterdir()) == []
        real(lock, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with temporary("x") as mine:
        assert mine.is_dir() and len(taken) == 1 and mine.parent != taken[0]
    assert list(top.iterdir()) == []


def test_what_others_keep_there_under_such_names_is_not_touched(top: Path) -> None:
    (top / "selfemo-new").mkdir()  # without a lock: it is being made just now
    (top / "selfemo-file").write_text("theirs")
    (top / "elsewhere").mkdir()
    (top / "selfemo-link").symlink_to(top / "elsewhere")
    with temporary("x"):
        pass
    assert {p.name for p in top.iterdir()} == {"selfemo-new", "selfemo-file", "elsewhere", "selfemo-link"}


def test_a_private_directory_is_closed_when_it_is_made_and_an_old_one_on_request(tmp_path: Path) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(private(tmp_path / "new" / "w")) == 0o700
    (tmp_path / "old").mkdir()
    (tmp_path / "old").chmod(0o755)
    assert mode(private(tmp_path / "old")) == 0o755, "a volume that several users share is theirs to arrange"
    assert mode(private(tmp_path / "old", also_old=True)) == 0o700
    assert places.private(tmp_path / "old") == tmp_path / "old"


def test_there_is_one_way_to_make_a_directory_that_goes_again() -> None:
    found = []
    for file in (f for top in ("src", "pipelines", "components", "manifests") for f in (ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                beside = any(word.arg == "dir" for word in node.keywords)  # what is written there takes a place there
                if node.func.attr == "TemporaryDirectory" or (node.func.attr == "mkdtemp" and not beside):
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert found == []
