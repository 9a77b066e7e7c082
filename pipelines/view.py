"""The view of a run on a cluster, as of one on this machine: ``python -m pipelines.view CONFIG.json``.

It is of the newest run of the configuration's name. Steps, shards, tries and what a pod waits for are the Workflow's;
rates come from the logs of pods that run; figures and samples from MLflow and the store, where those can be reached.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import Any

from pipelines.kubeflow import connect, ended, listed, named, spoken
from pipelines.nodes import Json, Node, nodes
from pipelines.watch import (
    DRIVER,
    FAILED,
    HALF,
    PROGRAM,
    SHARD,
    UNLIKE_ARGO,
    how_it_ended,
    log_of,
    looks,
    round_of,
    tell_end,
    watch,
)
from selfemo import progress
from selfemo.config import Config
from selfemo.context import Context
from selfemo.errors import Exit, UserError
from selfemo.logs import printable
from selfemo.registry.rounds import RoundRow
from selfemo.runs.going import SHARDED, TITLES, Going, PieceState, StepProgress, UnitProgress
from selfemo.runs.recorded import figures
from selfemo.runs.samples import Samples
from selfemo.runs.state import RunState, RunStatus
from selfemo.runs.view import drawable
from selfemo.runs.watching import drawn, show_now
from selfemo.terminal import console

POLL = 10.0
"""Seconds between two looks."""
LOGS = 8
"""Pods whose logs are read at a look."""
WORDS = {
    "SUCCEEDED": RunStatus.FINISHED,
    "FAILED": RunStatus.FAILED,
    "CANCELED": RunStatus.ENDED_BY_HAND,
    "SKIPPED": RunStatus.ENDED_BY_HAND,
}
PHASES = {
    "Succeeded": PieceState.DONE,
    "Failed": PieceState.FAILED,
    "Error": PieceState.FAILED,
    "Skipped": PieceState.NEVER,
    "Omitted": PieceState.NEVER,
}
"""Argo's, and ours; any other runs."""
Pods = dict[tuple[int, str, int | None], tuple[str, ...]]
"""By round, step and shard."""


class There:
    """A run on a cluster, as it goes.

    Args:
        client: A kfp.Client.
        run: Id of the run.
        config: Of the run.
        name: Of the run.
    """

    def __init__(self, client: Any, run: str, config: Config, name: str) -> None:
        self.client, self.run, self.config, self.name = client, run, config, name
        self.context = Context(config.model_copy(update={"run": name}))
        self._known: tuple[dict[int, RoundRow], tuple[str, int], list[str]] = ({}, ("", 0), [])
        self._decided = 0
        self._pods: Pods = {}

    def look(self, found: Any, manifest: Json | None) -> Going:
        """How it goes.

        Args:
            found: The run as Kubeflow has it.
            manifest: Its Workflow.
        """
        config = self.config
        said = printable(found.error.message) if found.error else ""
        state = RunState(WORDS.get(how_it_ended(found, manifest), RunStatus.RUNNING), said)
        what = f"{config.policy.start or config.policy.base} on {', '.join(c.name for c in config.corpora)}"
        run = Going(self.name, what, config.loop.rounds, config.launch.shards, state)
        run.began, run.ended = (_seconds(getattr(found, at, None)) for at in ("created_at", "finished_at"))
        run.plan()
        try:
            self._pods = of_nodes(run, nodes(manifest or {}))
        except UNLIKE_ARGO:
            run.notes.append("Kubeflow shows its steps in a form that is not known here")
        decided = sum(p.step == "decide" and p.state == PieceState.DONE for p in run.pieces.values())
        if decided > self._decided:
            self._decided = decided
            threading.Thread(target=self._figures, daemon=True, name="figures").start()
        rows, run.samples, notes = self._known
        run.rows |= rows
        run.notes += notes
        run.close()
        return run

    def add_work(self, run: Going) -> Going:
        """What the steps that run are counting, from the logs of their pods."""
        for piece in [p for p in run.pieces.values() if p.state == PieceState.RUNS][:LOGS]:
            pods = self._pods.get((piece.round, piece.step, piece.shard), ())
            log = next((log for pod in pods if (log := log_of(self.client, self.run, pod))), "")
            lines = log.splitlines()
            last = next((m for line in reversed(lines) if (m := progress.LINE.fullmatch(line.strip()))), None)
            if last is not None:
                piece.work = UnitProgress(printable(last[1]), int(last[2]), int(last[3]), float(last[4]))
        return run

    def _figures(self) -> None:
        seen = Going(self.name)
        try:
            figures(self.context, seen)
        except Exception as error:  # a view goes on without them
            seen.notes.append(f"no figures: {type(error).__name__}")
        self._known = (seen.rows, seen.samples, seen.notes)


def of_nodes(run: Going, found: dict[str, Node]) -> Pods:
    """Add what the nodes of a Workflow say of a run's steps and shards; names that their pods may have, by place."""
    pods: Pods = {}
    for place, node in found.items():
        program, driver = PROGRAM.search(place), DRIVER.search(place)
        step = program[1] if program else driver[1] if driver and node.phase in FAILED else ""
        if step not in TITLES:
            continue
        shard = SHARD.search(place)
        number = (int(shard[1]) if shard else 0) if step in SHARDED else None
        piece = run.piece(step, round_of(place) if HALF.search(place) else 0, number)
        pods[piece.round, piece.step, piece.shard] = node.pods
        _of_node(piece, node)
    return pods


def _of_node(piece: StepProgress, node: Node) -> None:
    piece.state, piece.tries = PHASES.get(node.phase, PieceState.RUNS), len(node.tries)
    piece.began, piece.ended = node.began, node.ended
    if piece.state == PieceState.FAILED or node.pending:
        piece.said = printable(node.message)[:300]
    if piece.state == PieceState.RUNS and node.pending:
        piece.state = PieceState.WAITS


def _seconds(told: Any) -> float | None:
    """Unix time of what Kubeflow's client tells: none before the end, or the year 1970."""
    found = told.timestamp() if hasattr(told, "timestamp") else None
    return found or None


def follow(client: Any, run: str, config: Config, name: str, poll: float, *, live: bool) -> str:
    """Follow a run to its end, as a view or as lines, on stderr; how it ended.

    Args:
        client: A kfp.Client.
        run: Id of the run.
        config: Of the run.
        name: Of the run.
        poll: Seconds between two looks.
        live: Whether to draw a view.
    """
    if not live:
        return watch(client, run, name, poll)
    there, out = There(client, run, config, name), console(stderr=True)
    samples = Samples(lambda: there.context.store)
    now, found, manifest = Going(name, state=RunState(RunStatus.RUNNING)), None, None
    with drawn(lambda: now, samples, {}, out):
        for found, manifest in looks(client, run, poll):
            now = there.add_work(there.look(found, manifest))
    show_now(now, samples, {}, out)
    return tell_end(client, run, name, found, manifest)


def newest(client: Any, config: Config) -> Any:
    """The newest run of the configuration's name.

    Raises:
        UserError: If there is none; names those there are.
    """
    space = client.get_user_namespace() or None
    given = dict(namespace=space, sort_by="created_at desc")
    found = [
        r for r in listed(client.list_runs, "runs", filter=named(config.run), **given) if r.display_name == config.run
    ]
    if found:
        return found[0]
    names = list(dict.fromkeys(str(r.display_name) for r in listed(client.list_runs, "runs", **given)))
    there = f"name one of these: {', '.join(map(printable, names[:20]))}" if names else "start it: selfemo submit"
    where = f"Kubeflow Pipelines, namespace {space or config.cluster.namespace}"
    raise UserError(f"no run {config.run!r}", where=where, fix=there)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--lines", action="store_true", help="draw no view")
    given = parser.parse_args()
    return ended(lambda: _main(given), "no longer watched; the run does not notice")


def _main(given: argparse.Namespace) -> Exit:
    config = Config.from_json(given.config.read_text(encoding="utf-8"))
    with spoken(config):
        client = connect(config)
        run, live = str(newest(client, config).run_id), not given.lines and drawable(sys.stderr)
        end = follow(client, run, config, config.run, POLL, live=live)
    print(WORDS[end], flush=True)
    return Exit.DONE if end == "SUCCEEDED" else Exit.NO


if __name__ == "__main__":
    sys.exit(main())
