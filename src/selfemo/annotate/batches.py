"""Turns are read a batch at a time, in this process or in several; each batch is a file, whole or not there at all.

Batches are cut by number of turns, whoever reads them: what is computed together is the same for any number of
processes and shards, and so is the result.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfemo import hardware, logs, processes
from selfemo.annotate.added import NUMBER
from selfemo.annotate.index import Index
from selfemo.config import Config
from selfemo.data.dialogue import Utterance
from selfemo.data.label_file import LabelFile
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.method.player import written
from selfemo.method.prompts import TokenIds
from selfemo.method.rewards import posterior
from selfemo.progress import Meter

if TYPE_CHECKING:
    from selfemo.method.player import Player

BATCH = 1024
"""Turns of a batch: what is read again after a kill, at most, in each process."""


@dataclass(frozen=True)
class AnnotationWork:
    """What a process has to know.

    Attributes:
        index: File of the turns.
        out: Directory of the batches.
        directory: The policy's files on this machine, or its name on a hub.
        uri: What the policy's name stands for.
        labels: What is read.
        config: Section ``policy``.
        size: Turns of a batch.
    """

    index: Path
    out: Path
    directory: str
    uri: str
    labels: LabelFile
    config: Config
    size: int

    def file(self, batch: int) -> Path:
        """Of a batch."""
        return self.out / f"{batch:08d}.f4"

    def bounds(self, batch: int, turns: int) -> tuple[int, int]:
        """First turn of a batch, and one past its last."""
        return batch * self.size, min(turns, (batch + 1) * self.size)

    def done(self, batch: int, turns: int) -> bool:
        """Whether a batch is there."""
        first, end = self.bounds(batch, turns)
        size = (end - first) * (len(self.labels.labels) + len(self.labels.sets)) * NUMBER.itemsize
        return self.file(batch).is_file() and self.file(batch).stat().st_size == size


@dataclass
class Worker:
    """Reads batches.

    Attributes:
        work: What.
        index: The turns.
        player: Who.
        space: Whose labels.
        room: Tokens of a prompt, at most.
    """

    work: AnnotationWork
    index: Index
    player: Player
    space: LabelSpace
    room: int

    @classmethod
    def ready(cls, work: AnnotationWork) -> Worker:
        """With the policy loaded."""
        from selfemo.policies import player_of
        from selfemo.serving.service import Service

        player = player_of(work.directory, work.uri, work.config)
        space = work.labels.space()
        room = Service(player, "", "", {}, {}).context - player.prompter.room([space])
        return cls(work, Index(work.index), player, space, room)

    def read(self, batch: int) -> int:
        """Read a batch and write its file; how many turns it has."""
        first, end = self.work.bounds(batch, self.index.turns)
        said = self.index.stretch(max(0, first - self.player.prompter.history_turns), end)
        begin = first - said[0].number
        shown = [Utterance(speaker=s.speaker, text=s.text) for s in said]
        histories = []
        for place in range(begin, len(said)):
            at = said[place].at
            past = at + 1 - self.player.prompter.unseen(at + 1)
            histories.append(shown[place + 1 - past : place + 1])
        prompts, answers = self.player.questions(histories, [self.space] * len(histories))
        for i, prompt in enumerate(prompts):
            if len(prompt) > self.room:
                prompts[i] = self._fitting(histories[i])
        logs = self.player.engine.log_likelihoods(prompts, answers)
        data = np.array([written(posterior(row)) for row in logs]).astype(NUMBER).tobytes()
        partial = self.work.file(batch).with_suffix(f".{os.getpid()}.partial")
        try:
            partial.write_bytes(data)
            os.replace(partial, self.work.file(batch))
        except OSError as error:
            fix = "make room there, and give the same command again"
            raise UserError(str(error.strerror), where=str(self.work.out), fix=fix) from None
        finally:
            partial.unlink(missing_ok=True)
        return end - first

    def _fitting(self, history: Sequence[Utterance]) -> TokenIds:
        """The prompt of the latest turns of a history that the model has room for."""
        prompt: TokenIds = ()
        while history and len(prompt := self.player.prompter.understanding(history, self.space)) > self.room:
            history = history[max(1, len(history) // 4) :]
        return prompt


_own: dict[str, Any] = {}
"""Of a process of several: its work, and its worker once it has one."""


def _start(work: AnnotationWork, parent: int) -> None:
    processes.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word; the one that started it says it
    logs.configure()
    _own["work"] = work


def _read(batch: int) -> int:
    if "worker" not in _own:
        _own["worker"] = Worker.ready(_own["work"])  # here, and not at the start: its errors are told
    return int(_own["worker"].read(batch))


def read_all(work: AnnotationWork, batches: Sequence[int], count: int, progress: Meter) -> None:
    """Read batches, in this process or in several.

    Args:
        work: What.
        batches: Which.
        count: Processes.
        progress: Counts turns.

    Raises:
        UserError: If a process dies.
    """
    if not batches:
        return
    if count == 1:
        worker = Worker.ready(work)
        with worker.index:
            for batch in batches:
                progress.advance(worker.read(batch))
        return
    spawn = multiprocessing.get_context("spawn")
    count = min(count, len(batches))
    with (
        _threads(count),
        ProcessPoolExecutor(count, spawn, initializer=_start, initargs=(work, os.getpid())) as pool,
    ):
        try:
            for done in as_completed([pool.submit(_read, batch) for batch in batches]):
                progress.advance(done.result())
        except BrokenProcessPool:
            fix = "give the same command again: it goes on from here; with fewer --processes if memory ran out"
            raise UserError("a process died", where=f"--processes {count}", fix=fix) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes that start in the block share the cores."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, hardware.cores() // count)))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)


def join(work: AnnotationWork, batches: int, out: Path) -> None:
    """All batches in one file."""
    with out.open("wb") as whole:
        for batch in range(batches):
            whole.write(work.file(batch).read_bytes())
