"""What goes wrong, and what the same command makes of it afterwards: ``python -m tests.faults.matrix --points 100``.

Real embedded servers, a small model, a proxy in front of each server. At each point a process is killed, or finds a
reply lost, late, cut off or a 5xx, its disk full or its clock off; then the same is done again with nothing in the way,
and what stands in the store, the registry and the directory is held against what an undisturbed run has made.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfemo import services
from selfemo.config import Config
from tests.conftest import ROOT
from tests.faults.points import WEIGHTS, Point, draw
from tests.faults.process import End, attempt
from tests.faults.proxy import KINDS
from tests.faults.work import WORK
from tests.faults.world import LEASE, World, checked, opened, ready, servers_again

DELAY = 4.0
"""Seconds of a delayed reply."""
TRIES = 6
"""Times that the same command is given again while the lock of a process that was killed is waited for."""


@dataclass(frozen=True)
class Row:
    """What became of a point."""

    point: Point
    first: End
    wrong: str
    seconds: float


def befall(world: World, point: Point) -> Row:
    """Let a point happen, do the same again, and see what is there."""
    began = time.monotonic()
    if point.area == "servers":
        name = f"p{point.number}"
        first, wrong = servers_again(world.place, name, point.fault, point.place, dict(point.details))
    elif point.area == "runner":
        first, wrong = _run(world, point)
    else:
        first, wrong = _work(world, point)
    if first.outcome in ("failed", "hung"):
        wrong = wrong or f"{first.outcome}: {first.said}"
    return Row(point, first, wrong, time.monotonic() - began)


def _work(world: World, point: Point) -> tuple[End, str]:
    config, work, log = world.config(f"p{point.number}"), point.work, world.log(f"p{point.number}")
    if point.area == "deciding" or work == "decide":
        ready(world, config, work)
    world.calm()

    def do() -> str:
        return WORK[work](config, world.made)

    if point.fault in KINDS:
        through = point.details["through"]
        at = int(point.place * max(1, world.requests[work, through]))
        fault = {"kind": point.fault, "at": at, "seconds": DELAY, "times": 2 if point.fault == "5xx" else 1}
        first = attempt(do, log, started=lambda pid: world.fault(through, {**fault, "pid": pid}))
    elif point.fault in ("disk full", "killed at a file"):
        until = int(point.place * max(1, world.files[work]))
        first = attempt(do, log, files_until=until, full=point.fault == "disk full")
    elif point.fault == "clock off":
        first = attempt(do, log, off=point.details["seconds"])
    else:
        first = attempt(do, log, die_after=point.place * world.seconds[work])
    world.calm()
    again = attempt(do, log)
    for _ in range(TRIES):
        if again.outcome != "refused" or "held by" not in again.said:
            break
        time.sleep(LEASE / 2)
        again = attempt(do, log)
    if again.outcome != "done":
        return first, f"again: {again.outcome}: {again.said}"
    return first, checked(world, config, work, again.said)


def _run(world: World, point: Point) -> tuple[End, str]:
    """A whole run, killed, and given again."""
    config = world.config(f"p{point.number}", "loop.rounds=1")
    file, log = world.place / f"p{point.number}.yaml", world.log(f"p{point.number}")
    file.write_text(config.to_json())  # JSON is YAML
    command = [sys.executable, "-m", "selfemo", "run", "--config", str(file)]
    number = signal.Signals[point.details["signal"]]
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True, preexec_fn=_heed_signals
        )
        try:
            process.wait(10 + point.place * 40)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return End("hung", f"no end 120 s after {number.name}"), ""
        first = End("done" if process.returncode == 0 else "killed", f"exit {process.returncode}")
        second = subprocess.run(command, cwd=ROOT, stdout=out, stderr=out, timeout=600, check=False)
    if second.returncode:
        return first, f"again: exit {second.returncode}"
    return first, checked(world, config, "decide", _decided(config, log))


def _heed_signals() -> None:
    """Who runs the matrix in the background, or under nohup, ignores some, and what it starts would too."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _decided(config: Config, log: Path) -> str:
    """URI of a run's first decision."""
    from selfemo.context import Context
    from selfemo.registry.promotion import decisions

    def ask() -> str:
        context = Context(config)
        found = next(m for m in decisions(context) if m.inputs["round"] == 0)
        every = context.store.backend(context.root).list(context.store.uri(context.config.run, "round-0"))
        manifests = (uri.removesuffix("/manifest.json") for uri in every if uri.endswith("/manifest.json"))
        return next(uri for uri in manifests if context.store.manifest(uri) == found)

    return attempt(ask, log).said


def line(row: Row, seed: int) -> str:
    """A line of the table."""
    outcome = f"WRONG: {row.wrong}" if row.wrong else "right"
    cells = (
        row.point.number,
        seed,
        row.point.name,
        row.point.happens,
        row.first.outcome,
        outcome,
        f"{row.seconds:.1f}",
    )
    return "| " + " | ".join(" ".join(str(cell).replace("|", "/").split())[:200] for cell in cells) + " |"


HEADER = (
    "| point | seed | what was done | what went wrong | first attempt | after the same again | s |\n" + "|---" * 7 + "|"
)


def rows(world: World, points: Sequence[Point], minutes: float) -> Iterator[Row]:
    """Points one after the other, for as long as there is time."""
    deadline = time.monotonic() + 60 * minutes
    for point in points:
        if time.monotonic() > deadline:
            return
        yield befall(world, point)


def main() -> int:
    """Entry point; 1 if anything ended wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--areas", default=",".join(WEIGHTS), help=f"of {', '.join(WEIGHTS)}")
    parser.add_argument("--workdir", type=Path, help="whose servers are used; some are started for it otherwise")
    parser.add_argument("--place", type=Path, help="directory that is kept, for what the processes wrote")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of points")
    given = parser.parse_args()
    areas = tuple(given.areas.split(","))
    points = [p for p in draw(given.points, given.seed, areas) if not given.only or p.number in given.only]
    place = given.place or Path(tempfile.mkdtemp(prefix="faults-"))
    place.mkdir(parents=True, exist_ok=True)
    print(f"what the processes wrote: {place}", file=sys.stderr)
    print(HEADER, flush=True)
    done: list[Row] = []
    try:
        with opened(place, given.workdir, areas) as world:
            for row in rows(world, points, given.minutes):
                done.append(row)
                print(line(row, given.seed), flush=True)
    finally:
        for started in ("servers", "world"):  # the second, too: one of the two of a world may not have started
            services.stop(place / started)
    wrong = sum(bool(row.wrong) for row in done)
    print(f"\n{len(done)} of {len(points)} points: {len(done) - wrong} ended right, {wrong} wrong.")
    return 1 if wrong or not done else 0


if __name__ == "__main__":
    sys.exit(main())
