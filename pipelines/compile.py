"""Compile the pipeline: ``python -m pipelines.compile``; ``--check`` fails if the checked-in form has drifted."""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

COMPILED = Path(__file__).parent / "compiled"
SIZES = (5, 10)
"""Rounds that a compiled form has room for."""


def compile_to(directory: Path) -> list[Path]:
    """Write ``selfemo-5.yaml`` and ``selfemo-10.yaml``; byte-identical from run to run."""
    warnings.filterwarnings("ignore")
    from kfp import compiler

    from pipelines.loop import loop

    paths = []
    for size in SIZES:
        path = directory / f"selfemo-{size}.yaml"
        compiler.Compiler().compile(loop(size), str(path))
        paths.append(path)
    return paths


def form_for(rounds: int) -> Path:
    """The smallest checked-in form with room for so many rounds."""
    size = next(s for s in SIZES if s >= rounds)
    return COMPILED / f"selfemo-{size}.yaml"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the checked-in form instead of writing it")
    if not parser.parse_args().check:
        COMPILED.mkdir(exist_ok=True)
        print(*compile_to(COMPILED), sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        drifted = [p.name for p in compile_to(Path(directory)) if p.read_bytes() != (COMPILED / p.name).read_bytes()]
    if drifted:
        print(f"pipelines/compiled: {', '.join(drifted)} drifted; run `make compile`", file=sys.stderr)
    return bool(drifted)


if __name__ == "__main__":
    sys.exit(main())
