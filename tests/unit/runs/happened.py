"""What a run notes as it goes, written by the functions that note it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import pytest

from selfemo import events, processes
from selfemo.runs.state import folder_of

ROW: dict[str, Any] = dict(
    round=0,
    accepted=6,
    rejected=41,
    mean_reward=0.5,
    accuracy=0.5,
    weighted_f1=0.4,
    weighted_f1_interval=(0.3, 0.5),
    expression_own=None,
    expression_judge=None,
    seconds=30.0,
    promoted=True,
)


class Happened:
    """Notes events of a run, at times of one's own."""

    def __init__(self, workdir: Path, name: str, patch: pytest.MonkeyPatch) -> None:
        folder_of(workdir, name).mkdir(parents=True)
        self.file = folder_of(workdir, name) / events.FILE
        self.patch, self.now, self.pid = patch, 1000.0, os.getpid()
        patch.setattr("selfemo.events.time.time", lambda: self.now)
        patch.setattr("selfemo.events.os.getpid", lambda: self.pid)
        self.began = processes.began()

    def note(self, what: str, state: str = "", after: float = 0.0, **values: Any) -> None:
        self.now += after
        events.note(what, state, file=self.file, **values)

    def starts(self, rounds: int = 1, shards: int = 1, **told: Any) -> None:
        given = {"host": platform.node(), "began": self.began, "title": "tiny on sample", **told}
        self.note(events.RUN, "starts", rounds=rounds, shards=shards, **given)

    def step(self, name: str, round: int, seconds: float, after: float = 0.0, **values: Any) -> None:
        """A step from its beginning to its end."""
        self.note(events.STEP, "starts", after, step=name, round=round, uri=f"s3://b/{name}", **values)
        result = {"row": {**ROW, "round": round}, "go_on": True} if name == "decide" else {}
        given = {"uri": f"s3://b/{round}/{name}", "result": result, **values}
        self.note(events.STEP, "published", seconds, step=name, round=round, **given)

    def first_round(self) -> None:
        """Round 0: 10, 100, 20 and 5 seconds, with pauses of 2 between them."""
        for name, seconds in (("prepare", 10), ("warmup", 100), ("evaluate", 20), ("decide", 5)):
            self.step(name, 0, seconds, after=2)
