"""The real compiled pipeline on this machine, end to end: which tasks run, and what is there afterwards.

One run, in two shards and with secrets in its environment, is what most of these tests look at or start from.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from click.testing import CliRunner

from selfemo.cli import main
from selfemo.config import Config
from selfemo.context import Context
from selfemo.registry.rounds import RoundRow
from selfemo.runs.going import PieceState
from selfemo.runs.here import Here, measured
from selfemo.runs.samples import Samples
from selfemo.steps import finished_rounds
from tests.conftest import small_of, there
from tests.docs.test_commands import SHELL
from tests.pipeline.test_secrets import CANARIES, contents

SHARDS = 2
ROUND = [*["generate"] * SHARDS, "filter", "train", *["evaluate"] * SHARDS, "decide"]
START = ["prepare", "warmup", *["evaluate"] * SHARDS, "decide"]
FORM = 5  # rounds that the compiled form has room for


def run(config: Config, tmp_path: Path) -> tuple[int, list[str], str]:
    """Exit code, the steps that ran in order, and what was printed; run from elsewhere, with a relative workdir.

    There lies a module of somebody else's with a name of ours.
    """
    (tmp_path / "pipelines.py").write_text("raise SystemExit('not this one')")
    path = tmp_path / "config.yaml"
    path.write_text(config.model_copy(update={"workdir": os.path.relpath(config.workdir, tmp_path)}).to_json())
    log = Path(config.workdir) / "runs" / config.run / "run.log"
    before = log.stat().st_size if log.exists() else 0
    (temporary := tmp_path / "temporary").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", "from selfemo.cli import main; main()", "run", "--config", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        # botocore would sign with a session token: the embedded server takes its own keys alone.
        env={
            **os.environ,
            "COLUMNS": "160",
            "TMPDIR": str(temporary),
            **{k: v for k, v in CANARIES.items() if not k.startswith("AWS_")},
        },
    )
    assert not list(temporary.iterdir())
    text = re.sub(r"\x1b\[[\d;]*m", "", log.read_text()[before:])
    executed = re.findall(r"Executing task '([a-z]+)(?:-\d+)?'", text)
    steps = {*START, *ROUND, "carry", "report"}
    return done.returncode, [t for t in executed if t in steps], done.stdout + done.stderr


def of_two_shards(config: Config) -> Config:
    return with_(config, "launch", shards=SHARDS).model_copy(update={"run": "e2e"})


@pytest.fixture
def config(small: Config) -> Config:
    return of_two_shards(small)


class First(NamedTuple):
    """The first run: what :func:`run` gives, and its rounds when it had ended."""

    code: int
    ran: list[str]
    printed: str
    rounds: list[RoundRow]


@pytest.fixture(scope="module")
def first(tiny: Path, workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> First:
    """The whole run, once for all tests that look at it or start from it: each may come first, or alone."""
    config = with_(of_two_shards(small_of(tiny, workdir)), "loop", rounds=2, patience=2)
    ended = run(config, tmp_path_factory.mktemp("first"))
    return First(*ended, finished_rounds(Context(config)) if ended[0] == 0 else [])


def with_(config: Config, section: str, **values: object) -> Config:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def test_all_rounds(config: Config, first: First) -> None:
    code, ran, printed, rows = first
    assert code == 0, printed
    assert ran == START + 2 * ROUND + 2 * (FORM - 2) * ["carry"] + ["report"]
    context = Context(config)
    assert [r.round for r in rows] == [0, 1, 2]
    assert rows[0].promoted
    assert all(r.accepted and r.rejected for r in rows[1:])
    assert "weighted F1" in printed
    assert "models:/self-emo@champion" in printed

    registry = context.registry
    parent = registry.client.get_run(registry.parent)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["loop.rounds"] == "2"
    assert parent.inputs.dataset_inputs[0].dataset.name == "prepared"
    assert len(registry.client.get_metric_history(registry.parent, "round/weighted_f1")) == 3
    children = registry.rounds()
    assert [c.data.tags["selfemo.round"] for c in children] == ["0", "1", "2"]
    assert "train/rewards/align/mean" in children[1].data.metrics
    assert "filter/predicted_entropy" in children[1].data.metrics
    drawn = {a.path for a in registry.client.list_artifacts(children[1].info.run_id, "plots")}
    assert {"plots/training.png", "plots/confusion-sample.png", "plots/reasons.png", "plots/rewards.png"} <= drawn
    across = {a.path for a in registry.client.list_artifacts(registry.parent, "plots")}
    assert across == {"plots/rounds.png", "plots/gains.png", "plots/reasons.png"}
    version = registry.versions.get(children[2].data.tags["selfemo.model_version"])
    assert version.tags["selfemo.round"] == "2"
    assert version.tags["selfemo.digest"] == there(context.store.manifest(version.source)).digest
    page = (Path(config.workdir) / "runs" / "e2e" / "report.html").read_text()
    assert "Round 2" in page
    assert page.count('class="round"') == 3


LOOKS = ("canary show", "compare", "data", "doctor", "evaluate", "gc", "report", "runs", "ui", "watch")
"""Commands that look at a run or at the sample corpus, and need nothing else."""
OTHERS = re.compile(r"data import|--open|--delete|colder|nightly|://|meld|qwen3|support|mine\.yaml|cluster\.yaml")
"""Words of those that want another run, other data, a cluster or a browser, or that remove something."""


def test_the_commands_of_the_pages_do_what_they_say(config: Config, first: First, tmp_path: Path) -> None:
    assert first.code == 0, first.printed
    (path := tmp_path / "config.yaml").write_text(config.to_json())
    typed = {shlex.join(words[1:]) for commands in SHELL.values() for words in commands if words[0] == "selfemo"}
    given = [line for line in typed if line.startswith(LOOKS) and not OTHERS.search(line)]
    assert {line for line in LOOKS if any(g.startswith(line) for g in given)} == set(LOOKS)
    for line in sorted(given):
        mine = re.sub(r"\bdemo\b(?!\.)", "e2e", line).replace("configs/demo.yaml", "FILE").replace("FILE", str(path))
        mine += "" if "--config" in mine or mine.startswith("data") else f" --config {path}"
        done = CliRunner().invoke(main, shlex.split(mine.replace("demo.html", str(tmp_path / "demo.html"))))
        assert (done.exit_code, bool(done.stdout.strip())) == (0, True), (mine, done.output)


def test_what_happened_was_noted_for_whoever_watches(config: Config, first: First) -> None:
    assert first.code == 0, first.printed
    run = Here(Path(config.workdir), "e2e").look()
    assert (run.state.word, run.rounds, run.shards) == ("finished", 2, SHARDS)
    stages = {(stage.round, stage.step): stage for stage in run.stages()}
    assert {stage.state for stage in stages.values()} == {PieceState.DONE}
    assert all(stage.seconds is not None for stage in stages.values())
    assert [len(stages[round, "evaluate"].pieces) for round in (0, 1, 2)] == [SHARDS] * 3
    assert [run.rows[row.round].weighted_f1 for row in first.rounds] == [row.weighted_f1 for row in first.rounds]
    samples = Samples(lambda: Context(config).store)
    samples.fetch(run.samples[0])
    assert run.samples[1] == 2 and samples.kept and not samples.why_not
    earlier = measured(Path(config.workdir), with_(config, "loop", rounds=2, patience=2))
    assert earlier["warmup"] == stages[0, "warmup"].seconds  # another run of these settings knows how long it takes
    other = with_(with_(config, "loop", rounds=2, patience=2), "warmup", learning_rate=0.004)
    assert "warmup" not in measured(Path(config.workdir), other)


@pytest.mark.usefixtures("first", "steps_that_are_loaded")
def test_a_second_run_does_nothing_again(config: Config, tmp_path: Path) -> None:
    test = with_(config, "loop", rounds=2, patience=2)
    store = Context(config).store
    before = sorted(store.backend(store.root).list(store.uri("e2e")))
    code, _ran, printed = run(test, tmp_path)
    assert code == 0, printed
    assert printed.count("is already there") == len(START + 2 * ROUND) + 1 + 2 * 2  # with what is gathered and scored
    assert sorted(store.backend(store.root).list(store.uri("e2e"))) == before
    assert [r.round for r in finished_rounds(Context(config))] == [0, 1, 2]
    registry = Context(config).registry
    history = registry.client.get_metric_history(registry.parent, "round/weighted_f1")
    assert [m.step for m in history] == [0, 1, 2]


@pytest.mark.usefixtures("first", "steps_that_are_loaded")
def test_early_stop_after_round_1(config: Config, tmp_path: Path) -> None:
    never = with_(with_(config, "loop", rounds=3, patience=1), "gate", min_gain=0.99)
    code, ran, printed = run(never, tmp_path)
    assert code == 0, printed
    assert ran == START + ROUND + 2 * (FORM - 1) * ["carry"] + ["report"]
    assert [r.round for r in finished_rounds(Context(never))] == [0, 1]


@pytest.mark.usefixtures("first", "steps_that_are_loaded")
def test_a_failing_round_fails_the_run_keeps_what_is_done_and_can_be_resumed(config: Config, tmp_path: Path) -> None:
    """Damage what round 1 trains on, on S3: training refuses it, nothing after it runs, the report still does."""
    broken = with_(with_(config, "loop", rounds=1), "grpo", learning_rate=0.002)
    context = Context(broken)
    store = context.store
    manifests = [u for u in store.backend(store.root).list(store.uri("e2e", "round-1")) if "/filter-" in u]
    uri = next(u.removesuffix("/manifest.json") for u in manifests if u.endswith("manifest.json"))
    manifest = store.manifest(uri)
    assert manifest is not None
    (tmp_path / "evil").write_text("evil")
    store.backend(uri).upload(tmp_path / "evil", f"{uri}/{manifest.files_at}/samples.jsonl.gz")
    shutil.rmtree(store.cache)
    code, ran, printed = run(broken, tmp_path)
    assert code == 1
    assert ran == [*START, *["generate"] * SHARDS, "filter", *["train"] * 3, "report"]  # tried three times, as compiled
    assert "differs from its manifest" in printed
    assert "the run failed" in printed
    assert "Traceback" not in printed
    registry = Context(broken).registry
    parent = registry.client.search_runs(
        [registry.experiment], "tags.`selfemo.run` = 'e2e' and tags.`selfemo.kind` = 'pipeline'"
    )
    assert parent[0].info.status == "FAILED"
    assert "The run failed" in (Path(config.workdir) / "runs" / "e2e" / "report.html").read_text()

    store.backend(uri).remove_tree(uri)  # what the message says to do
    code, ran, printed = run(broken, tmp_path)
    assert code == 0, printed
    assert [r.round for r in finished_rounds(Context(broken))] == [0, 1]


def test_an_interrupt_ends_the_step_it_hits_and_the_same_command_goes_on(small: Config, tmp_path: Path) -> None:
    interrupted = with_(small, "loop", rounds=0).model_copy(update={"run": "interrupted"})
    _ = Context(interrupted).services  # those that the run started would be its children, and outlive it
    path = tmp_path / "config.yaml"
    path.write_text(interrupted.to_json())
    command = [sys.executable, "-c", "from selfemo.cli import main; main()", "run", "--config", str(path)]
    # Who runs the tests in the background ignores SIGINT, and what they start would too.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    assert process.stderr is not None
    for line in process.stderr:
        if "warmup of round 0 starts" in line:
            break
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "already going on" in second.stderr
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert "the same command goes on from here" in process.stderr.read()
    cut_off = Here(Path(interrupted.workdir), "interrupted").look()
    assert (cut_off.state.word, cut_off.pieces[0, "warmup", None].state) == ("ended by hand", PieceState.CUT_OFF)
    psutil.wait_procs(children)  # all of them end
    code, _, printed = run(interrupted, tmp_path)
    assert code == 0, printed
    assert printed.count("is already there") == 1  # what was published before the interrupt
    assert Here(Path(interrupted.workdir), "interrupted").look().pieces[0, "prepare", None].state == PieceState.THERE


def test_a_run_leaves_no_secret_behind(config: Config, first: First, tmp_path: Path) -> None:
    context = Context(config)
    own = context.services  # the embedded S3 server's keys are secrets like any other
    planted = [own.secret_key, *CANARIES.values()]
    assert first.code == 0, first.printed
    assert not [c for c in planted if c in first.printed]

    copies = tmp_path / "store"
    copies.mkdir()
    store = context.store
    for number, uri in enumerate(store.backend(store.root).list(store.uri(config.run))):
        if not uri.endswith(".safetensors"):
            store.backend(uri).download(uri, copies / f"{number}-{uri.rsplit('/', 1)[1]}")
    searched = [*contents(copies), *contents(Path(config.workdir) / "runs" / config.run)]
    assert len(searched) > 20
    for path, data in searched:
        assert not [c for c in planted if c.encode() in data], path

    registry = context.registry
    for made in (registry.parent, *(r.info.run_id for r in registry.rounds())):
        said = str(registry.client.get_run(made).to_dictionary())
        assert not [c for c in planted if c in said]
