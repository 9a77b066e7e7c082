"""Rows a second of `selfemo data import`, and the memory that it takes at two sizes of a file.

python benchmarks/imports.py [--rows 50000 200000] [--turns 10] [--redact]

Made-up CSV files, imported by the command in a process of its own. Memory that grew with the rows would show between
the sizes; what may grow is what is remembered of each dialogue.
"""

from __future__ import annotations

import argparse
import csv
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selfemo import hardware

WORDS = ["see", "hear", "rain", "house", "train", "late", "early", "never", "always", "why", "what", "blue", "at", "5"]
PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"


def write(path: Path, rows: int, turns: int) -> None:
    draw = random.Random(7)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["conversation_id", "turn", "speaker", "text", "emotion"])
        for row in range(rows):
            text = " ".join(draw.choices(WORDS, k=10))
            out.writerow([row // turns, row % turns, "AB"[row % 2], text, draw.choice(["joy", "fear", "neutral"])])


def measure(path: Path, out: Path, redact: bool) -> tuple[float, int]:
    """Seconds, and peak memory in MB."""
    args = ["data", "import", str(path), "--out", str(out), *(["--redact"] if redact else [])]
    code = f"from selfemo.cli import main\ntry: main({args!r})\nexcept SystemExit as e: assert not e.code\n{PEAK}"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--turns", type=int, default=10, help="of a dialogue")
    parser.add_argument("--redact", action="store_true")
    args = parser.parse_args()
    print(f"{hardware.describe()}, Python {platform.python_version()}, {args.turns} turns a dialogue")
    with tempfile.TemporaryDirectory() as directory:
        for rows in args.rows:
            path = Path(directory, f"{rows}.csv")
            write(path, rows, args.turns)
            seconds, peak = measure(path, Path(directory, f"c{rows}"), args.redact)
            size = path.stat().st_size / 1e6
            print(f"{rows} rows ({size:.0f} MB): {seconds:.1f} s, {rows / seconds:.0f} rows/s, peak {peak} MB")


if __name__ == "__main__":
    main()
