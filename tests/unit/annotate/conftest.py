"""An annotation as people call it, with a model of a moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfemo.cli import main
from tests.spaces import SPACES

LABELS = SPACES["sample"].labels
ADDED = ["emotions", *(f"p_{label}" for label in LABELS), "confidence", "abstain"]


@dataclass
class Annotated:
    """What ``selfemo annotate`` did."""

    code: int
    stdout: str
    stderr: str
    out: Path

    @property
    def report(self) -> Any:
        return json.loads(self.out.with_name(f"{self.out.name}.annotation.json").read_text(encoding="utf-8"))

    @property
    def text(self) -> str:
        assert self.code == 0, self.stderr
        return self.out.read_text(encoding="utf-8")

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.text.splitlines()]


class Annotator:
    """Runs the command in this process."""

    def __init__(self, place: Path, policy: Path) -> None:
        self.place, self.policy = place, policy

    def arguments(self, source: Path, out: str, *more: str | Path) -> list[str]:
        there = [f"--set=store.root={(self.place / 'store').as_uri()}", f"--set=workdir={self.place / 'work'}"]
        given = list(map(str, more))
        known = [] if {"--scores", "--precision", "--threshold"} & set(given) else ["--threshold", "0.16"]
        command = ["annotate", str(source), str(self.place / out), "--policy", str(self.policy)]
        return [*command, "--set=policy.precision=float32", *there, *known, *given]

    def __call__(self, source: Path, out: str, *more: str | Path) -> Annotated:
        done = CliRunner().invoke(main, self.arguments(source, out, *more))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Annotated(done.exit_code, done.stdout, " ".join(done.stderr.split()), self.place / out)

    def write(self, name: str, text: str, encoding: str = "utf-8") -> Path:
        path = self.place / name
        path.write_bytes(text.encode(encoding))
        return path


@pytest.fixture
def annotate(tmp_path: Path, tiny: Path) -> Annotator:
    return Annotator(tmp_path, tiny)


def is_said(found: dict[str, Any]) -> None:
    """What is added to a turn is whole, and of the types it should be."""
    assert set(found["emotions"]) <= set(LABELS)
    assert found["emotions"]
    chances = [found[f"p_{label}"] for label in LABELS]
    assert all(isinstance(p, float) and 0 <= p <= 1 for p in chances)
    assert max(chances) >= found["confidence"] > 0
    assert found["abstain"] is (found["confidence"] < 0.16)
