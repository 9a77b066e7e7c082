"""The examples of docs/contributing.md, done as they say in a copy of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))


def blocks(section: str) -> list[tuple[str, str]]:
    """First line and the rest of each block of code."""
    return [(head, body) for head, body in re.findall(r"^```(?:python|yaml)\n# (.*?)\n(.*?)^```", section, re.M | re.S)]


def test_what_each_addition_touches_is_what_its_example_touches() -> None:
    told = {t: (int(f), int(n)) for t, f, n in re.findall(r"^\| (An? [\w ]+?) +\| (\d) \| (\d) \|", TEXT, re.M)}
    heads = {title: [head.split(":")[0] for head, _ in blocks(section)] for title, section in SECTIONS.items()}
    assert told == {t: (h.count("file"), h.count("line in")) for t, h in heads.items() if h}


@pytest.mark.parametrize("title", [title for title, section in SECTIONS.items() if blocks(section)])
def test_the_example_works_as_it_stands(title: str, tmp_path: Path, tiny: Path) -> None:
    copy = tmp_path / "copy"
    for folder in ("src", "components", "pipelines"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "compiled"))
    work = tmp_path / "work"
    work.mkdir()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(copy / "src"), str(copy)))}
    tried = 0
    for head, body in blocks(SECTIONS[title]):
        if match := re.fullmatch(r"file: (\S+)", head):
            file = copy / match[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            assert not file.exists()
            file.write_text(body)
        elif match := re.fullmatch(r"line in: (\S+) after: (.*)", head):
            file = copy / match[1]
            text = file.read_text()
            assert text.count(f"{match[2]}\n") == 1, f"{match[2]!r} is not a line of {match[1]}"
            file.write_text(text.replace(f"{match[2]}\n", f"{match[2]}\n{body}"))
        else:
            assert head == "try"
            tried += 1
            done = subprocess.run(
                [sys.executable, "-c", body, str(tiny)], cwd=work, env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
    assert tried == 1
