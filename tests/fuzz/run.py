"""``python -m tests.fuzz.run``: atheris on each target, from the kept corpus, for so many seconds each.

What it finds lies in ``build/fuzz/TARGET``: ``crash-*`` files are inputs that failed; ``python -m tests.fuzz.run
--again FILE TARGET`` shows one. An input that was mended goes to ``tests/fuzz/corpus/TARGET`` under a name that says
what it is: `make test` tries all of these, and seeded changes of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = 600
SLOW, LARGE = 10, 4096
"""Seconds and MiB that no input may take."""


def fuzz(name: str, found: Path, seconds: int, seed: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["selfemo"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS, quiet

    options = [f"-max_total_time={seconds}", f"-timeout={SLOW}", f"-rss_limit_mb={LARGE}", f"-seed={seed}"]
    options += ["-max_len=8192", f"-artifact_prefix={found}/", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(found / "corpus"), str(HERE / "corpus" / name)], TARGETS[name])
    with quiet():
        atheris.Fuzz()


def again(name: str, file: Path) -> None:
    """Try one input."""
    from tests.fuzz.targets import TARGETS

    TARGETS[name](file.read_bytes())
    print("nothing is wrong with it")


def main() -> int:
    """Entry point; 1 if anything was found."""
    names = sorted(p.name for p in (HERE / "corpus").iterdir() if p.is_dir())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--again", type=Path, help="an input to try once")
    parser.add_argument("--here", action="store_true", help="in this process")
    given = parser.parse_args()
    if given.again:
        again(given.targets[0], given.again)
        return 0
    if given.here:
        fuzz(given.targets[0], given.out / given.targets[0], given.seconds, given.seed)
        return 0
    wrong = 0
    print("| target | inputs tried | a second | s | found |\n" + "|---" * 5 + "|", flush=True)
    for name in given.targets or names:
        found = given.out / name
        (found / "corpus").mkdir(parents=True, exist_ok=True)
        known = set(found.iterdir())
        command = [sys.executable, "-m", "tests.fuzz.run", name, "--here", "--seconds", str(given.seconds)]
        began = time.monotonic()
        done = subprocess.run(
            [*command, "--seed", str(given.seed), "--out", str(given.out)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        (found / "log.txt").write_text(done.stdout + done.stderr)
        took = time.monotonic() - began
        new = sorted(p.name for p in set(found.iterdir()) - known if p.name.partition("-")[0] in KINDS)
        runs = next((int(x.split()[-1]) for x in done.stderr.splitlines() if "number_of_executed_units" in x), 0)
        said = ", ".join(new) or ("nothing" if done.returncode == 0 else f"ended with {done.returncode}: see log.txt")
        wrong += said != "nothing"
        print(f"| {name} | {runs} | {runs / max(took, 1):.0f} | {took:.0f} | {said} |", flush=True)
    return 1 if wrong else 0


KINDS = ("crash", "timeout", "oom", "leak")

if __name__ == "__main__":
    sys.exit(main())
