"""What it takes to fetch an artifact of the demo's size: first, again, and by processes that want it at once.

python benchmarks/store.py --megabytes 270 --processes 2
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

from selfemo import hardware
from selfemo.store.artifacts import Store

REPEATS = 5


def seconds(work: Callable[[], object]) -> float:
    """That a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def fetched(root: str, cache: Path, uri: str, barrier: Barrier, out: multiprocessing.Queue[float]) -> None:
    """One of several processes that fetch at once."""
    barrier.wait()
    out.put(seconds(lambda: Store(root, cache).fetch(uri)))


def together(root: str, cache: Path, uri: str, count: int) -> float:
    """Seconds until the last of ``count`` processes has the artifact."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    out: multiprocessing.Queue[float] = context.Queue()
    processes = [context.Process(target=fetched, args=(root, cache, uri, barrier, out)) for _ in range(count)]
    for process in processes:
        process.start()
    found = [out.get() for _ in processes]
    for process in processes:
        process.join()
    return max(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=270)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "files").mkdir()
        with (place / "files" / "model.safetensors").open("wb") as file:
            for _ in range(given.megabytes):
                file.write(os.urandom(1_000_000))
        store = Store((place / "root").as_uri(), place / "cache")
        uri = store.uri("weights")
        store.publish(place / "files", uri, step="benchmark")
        first = seconds(lambda: store.fetch(uri))
        again = statistics.median(seconds(lambda: store.fetch(uri)) for _ in range(REPEATS))
        shared = statistics.median(together(store.root, store.cache, uri, given.processes) for _ in range(REPEATS))
    print(f"{given.megabytes} MB from file://, first: {first:.3f} s; again: {again:.4f} s, median of {REPEATS}")
    print(f"by {given.processes} processes at once, when it is here: {shared:.4f} s until the last has it")
    print(hardware.describe())


if __name__ == "__main__":
    main()
