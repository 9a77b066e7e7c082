"""Jobs that wait for one another, several at a time, each in a process of its own: for trials that share one GPU."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfemo import processes

PAUSE = 0.05
"""Seconds between two looks at what has ended."""


@dataclass(frozen=True)
class Job:
    """Something to do once.

    Attributes:
        name: Of it, and of its log.
        do: Does it; in a process of its own, so what it changes there it leaves as it was here.
        needs: Names of the jobs that come first.
    """

    name: str
    do: Callable[[], None]
    needs: tuple[str, ...] = field(default=())


def work(jobs: Sequence[Job], together: int, seconds: float, logs: Path) -> dict[str, str]:
    """Do jobs, the first of the list that nothing is waited for first.

    Processes are forked: what is imported is imported once, and nothing may have touched the GPU yet.

    Args:
        jobs: Names are theirs alone; a job of which one that it needs failed is left out.
        together: Most at a time.
        seconds: After which no job begins, and those that have not ended are stopped.
        logs: Directory for what each prints.

    Returns:
        By name how each ended: ``done`` with its seconds, ``failed``, ``stopped`` or ``left out``.
    """
    logs.mkdir(parents=True, exist_ok=True)
    fork, ended, started = multiprocessing.get_context("fork"), dict[str, str](), time.monotonic()
    waiting, at_work = list(jobs), dict[str, tuple[multiprocessing.process.BaseProcess, float]]()
    while waiting or at_work:
        late = time.monotonic() - started > seconds
        for name, (process, since) in list(at_work.items()):
            if process.is_alive() and not late:
                continue
            how = "failed"
            if process.is_alive():
                process.kill()
                how = "stopped"
            process.join()
            took = time.monotonic() - since
            ended[name] = f"done, {took:.1f} s" if process.exitcode == 0 else how
            del at_work[name]
            print(f"{time.monotonic() - started:6.1f} s  {name}: {ended[name]}", flush=True)
        if late:
            break
        for job in list(waiting):
            if any(not ended[n].startswith("done") for n in job.needs if n in ended):
                ended[job.name] = "left out"
                waiting.remove(job)
            elif len(at_work) < together and all(n in ended for n in job.needs):
                process = fork.Process(
                    target=_alone, args=(job, logs / f"{job.name.replace('/', '_')}.log", os.getpid())
                )
                process.start()
                at_work[job.name] = (process, time.monotonic())
                waiting.remove(job)
        time.sleep(PAUSE)
    return ended | {job.name: "left out" for job in waiting}


def _alone(job: Job, log: Path, parent: int) -> None:
    """A job in its own process, which ends with the one that started it: nobody else would know of it."""
    processes.die_with_parent(parent)
    with log.open("w", buffering=1) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
        try:
            job.do()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)  # threads of libraries would be waited for
