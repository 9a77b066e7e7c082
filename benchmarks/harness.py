"""Two ways of doing one thing, measured side by side: each in a process of its own, taking turns.

A measurement is wall time, CPU time of the whole process and the peak of its resident memory (of GPU memory
where there is a GPU) while it works.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from selfemo import hardware

Work = Callable[[Callable[[], None], Callable[[Any], None]], None]
"""Does its thing again and again: waits for its turn with the first function, reports with the second."""


@dataclass(frozen=True)
class Measured:
    """One turn."""

    wall: float
    cpu: float
    peak: float
    """GB"""
    result: Any


def repeat(once: Callable[[], Any]) -> Work:
    """Work that is one function, called again and again."""

    def work(turn: Callable[[], None], done: Callable[[Any], None]) -> None:
        while True:
            turn()
            done(once())

    return work


def _serve(pipe: Connection, prepare: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    import torch

    on_gpu = torch.cuda.is_available()
    began: dict[str, float] = {}

    def turn() -> None:
        if pipe.recv() == "stop":
            os._exit(0)
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak of resident memory
        began.update(wall=time.perf_counter(), cpu=time.process_time())

    def done(result: Any) -> None:
        if on_gpu:
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - began["wall"], time.process_time() - began["cpu"]
        if on_gpu:
            peak = torch.cuda.max_memory_allocated() / 1e9
        else:
            status = Path("/proc/self/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9
        pipe.send(Measured(wall, cpu, peak, result))

    work = prepare(*arguments)
    pipe.send("ready")
    work(turn, done)


def compare(
    title: str, ours: tuple[Any, ...], stock: tuple[Any, ...], pairs: int, unit: str, units: float
) -> tuple[list[Measured], list[Measured]]:
    """Measure two variants in interleaved pairs, and print the medians and the ratio.

    Args:
        title: What is compared.
        ours: A function that makes the :data:`Work` of our variant in its process, and its arguments.
        stock: The same of the other.
        pairs: How many; one more goes before them, to warm up.
        unit: What a turn makes.
        units: How many of them.

    Returns:
        Our measurements and the other's, the warm-up first.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for function, *arguments in (ours, stock):
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, function, tuple(arguments)), daemon=True)
        process.start()
        there.close()
        assert here.recv() == "ready"
        pipes.append(here)
        processes.append(process)
    rows: tuple[list[Measured], list[Measured]] = ([], [])
    for _ in range(pairs + 1):
        for pipe, row in zip(pipes, rows, strict=True):
            pipe.send("go")
            row.append(pipe.recv())
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send("stop")
        process.join()
    print(f"\n{title}: medians of {pairs} interleaved pairs")
    print(f"{'':<8}{'wall s':>9}{'CPU s':>9}{'peak GB':>9}{unit + '/s':>16}")
    for name, row in zip(("ours", "stock"), rows, strict=True):
        wall, cpu, peak = (statistics.median(getattr(m, k) for m in row[1:]) for k in ("wall", "cpu", "peak"))
        print(f"{name:<8}{wall:>9.2f}{cpu:>9.2f}{peak:>9.2f}{units / wall:>16.2f}")
    for name in ("wall", "cpu"):
        ratios = [getattr(b, name) / getattr(a, name) for a, b in zip(rows[0][1:], rows[1][1:], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name} ratio, median of pairs: {statistics.median(ratios):.2f} ({spread})", flush=True)
    return rows


def machine() -> str:
    """What it ran on."""
    import torch
    import transformers
    import trl

    where = torch.cuda.get_device_name() if torch.cuda.is_available() else hardware.describe()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, trl {trl.__version__}"
    return f"{where}; {versions}; {torch.get_num_threads()} threads"
