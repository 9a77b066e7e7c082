"""Run the compiled pipeline on this machine, and show how it goes."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from selfemo import events, logs, processes, progress, services, terminal
from selfemo.config import Config
from selfemo.config.run import SECTIONS
from selfemo.context import Context
from selfemo.errors import Exit, UserError
from selfemo.places import private, temporary
from selfemo.runs.state import RunStatus

_OURS = re.compile(r"^\s*(?:\x1b\[[\d;]*m)*(\d\d:\d\d:\d\d [IWEC] .*?)(?:\x1b\[[\d;]*m)*$")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_SILENT = re.compile(r"Task '([^']+)' finished with status FAILURE")
"""What KFP's local runner says of a step that failed."""


def checkout() -> Path:
    """The directory that holds ``pipelines/``.

    Raises:
        UserError: If this is no checkout.
    """
    for place in (Path(__file__).resolve().parents[3], Path.cwd()):
        if (place / "pipelines" / "local.py").is_file():
            return place
    raise UserError(
        "`selfemo run` needs the project's pipelines/ directory",
        where=str(Path.cwd()),
        fix="run it in a checkout of the project, or run its steps one by one",
    )


def in_checkout(module: str, config: Config, *arguments: str) -> tuple[Exit, list[str]]:
    """Run one of the project's own modules on a configuration; its exit code, and what it printed, a line each.

    Args:
        module: Of ``pipelines/``, which knows kfp.
        config: Handed over as JSON, in place of ``CONFIG`` among the arguments.
        arguments: Of the module.
    """
    with temporary("checkout") as directory:
        file = directory / "config.json"
        file.write_text(config.to_json())
        command = [sys.executable, "-m", module, *(str(file) if a == "CONFIG" else a for a in arguments)]
        said = []
        with subprocess.Popen(command, env={**os.environ, **_modules()}, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None  # it is a pipe
            for line in process.stdout:
                said.append(line.rstrip("\n"))
                print(said[-1], flush=True)
    if process.returncode not in set(Exit):  # a signal ended it
        raise UserError(f"{module} ended with {process.returncode}", where=module, fix="see its output above this line")
    return Exit(process.returncode), said


def _modules() -> dict[str, str]:
    """Variables by which Python finds the project's own modules, before what the environment says.

    And not those of the directory that we are in: what is called `pipelines` there may be somebody's own.
    """
    path = os.pathsep.join(p for p in (str(checkout()), os.environ.get("PYTHONPATH", "")) if p)
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        succeeded: Whether it did.
        error: What the step that failed said of it.
    """

    succeeded: bool
    error: str = ""


def run_pipeline(context: Context) -> Ended:
    """Run all rounds.

    Everything the steps print goes to ``run.log``, and what happens to a file of events, which others may watch; this
    process shows the project's own lines, and on a terminal how the run goes.

    Args:
        context: Of the run; its services are started.
    """
    folder = context.workdir / "runs" / context.config.run
    private(context.workdir)
    folder.mkdir(parents=True, exist_ok=True)
    happened = (folder / events.FILE).resolve()
    env = {
        **os.environ,
        **_modules(),
        "PYTHONUNBUFFERED": "1",
        events.VARIABLE: str(happened),
        processes.CHILD: str(os.getpid()),
    }
    command = [sys.executable, "-m", "pipelines.local", str((folder / "config.json").resolve())]
    with (
        _alone(folder) as lock,
        (folder / "run.log").open("ab") as log,
        _told(context, happened),
        _screen(context) as show,
    ):
        (folder / "config.json").write_text(context.portable.to_json())  # the same wherever a step runs
        before = log.tell()
        process = subprocess.Popen(
            command,  # where we are: relative paths of the configuration mean the same to the steps
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a group of its own: an interrupt ends the steps too
            pass_fds=(lock,),  # while the pipeline lives there is no second one, whatever becomes of this process
        )
        assert process.stdout is not None  # it is a pipe
        with _stopping(process), services.kept(context.workdir, context.start_again):
            threading.Thread(target=_end_with, args=(process,), daemon=True, name="orphans").start()
            _follow(process.stdout, log, show)
            process.wait()
        ended = Ended(True)
        if process.returncode:
            with (folder / "run.log").open("rb") as written:
                written.seek(before)
                ended = Ended(False, _why(raw.decode(errors="replace") for raw in written))
        word, said = (RunStatus.FINISHED, "") if ended.succeeded else (RunStatus.FAILED, ended.error)
        events.note(events.RUN, "ended", file=happened, word=word, said=said)
    return ended


@contextmanager
def _told(context: Context, happened: Path) -> Iterator[None]:
    """Note that the run starts, and whose process it is; and that it was ended, if it was."""
    config = context.config
    told = {
        "host": platform.node(),
        "began": processes.began(),
        "title": f"{config.policy.start or config.policy.base} on {', '.join(c.name for c in config.corpora)}",
        "rounds": config.loop.rounds,
        "shards": config.launch.shards,
        "digests": {step: config.digest(step) for step in SECTIONS},  # whose times may be compared
    }
    events.note(events.RUN, "starts", file=happened, **told)
    try:
        yield
    except BaseException as error:
        gone = isinstance(error, OSError) and error.errno == errno.EIO  # may be seen before the signal comes
        word = RunStatus.ENDED_BY_HAND if gone or isinstance(error, KeyboardInterrupt) else RunStatus.FAILED
        said = "its terminal was closed" if gone else str(error)
        events.note(events.RUN, "ended", file=happened, word=word, said=said)
        raise


def _end_with(process: subprocess.Popen[bytes]) -> None:
    """A pipeline that was killed leaves no step behind, which would hold its output open."""
    process.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _why(lines: Iterable[str]) -> str:
    """What the step that failed said, or which one ended without a word."""
    kept = list(lines)
    if said := logs.failure(kept):
        return said
    if ours := [
        number for number, line in enumerate(kept) if line.startswith("selfemo: ")
    ]:  # no step, but the pipeline
        return "".join(kept[ours[-1] : ours[-1] + 2]).removeprefix("selfemo: ").strip()
    silent = [match[1] for line in kept if (match := _SILENT.search(_COLOUR.sub("", line)))]
    step = next((name for name in silent if not name.startswith(("exit-handler", "condition", "selfemo-"))), "a step")
    return f"{step} ended without a word: was it killed, or out of memory? The end of the log may say more"


@contextmanager
def _stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C, SIGTERM, a closed terminal, or any error here, end the pipeline and the step it is in."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # Who ignores SIGHUP, as nohup does, wants to outlive the terminal.
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else [])]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # steps are made to be killed
        process.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Two runs of one name would work in the same scratch directories; the lock, to be handed to the pipeline."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"the run {folder.name} is already going on",
                where=str(folder),
                fix="wait for it, or set another run name",
            ) from None
        yield lock.fileno()


def _follow(output: IO[bytes], log: IO[bytes], show: Callable[[str], None]) -> None:
    for raw in output:
        log.write(raw)
        log.flush()
        if match := _OURS.match(raw.decode(errors="replace").rstrip()):
            show(match.group(1))


@contextmanager
def _screen(context: Context) -> Iterator[Callable[[str], None]]:
    """A function that shows one line of the log: above a view of the run on a terminal, else as it is."""
    from selfemo.runs.view import drawable

    if not drawable(sys.stderr):
        yield lambda line: print(line, file=sys.stderr, flush=True)
        return
    from selfemo.runs.here import Here, measured
    from selfemo.runs.samples import Samples
    from selfemo.runs.watching import drawn

    out, run = terminal.console(stderr=True), Here(context.workdir, context.config.run)
    earlier = measured(context.workdir, context.config)
    with drawn(run.look, Samples(lambda: context.store), earlier, out):

        def show(line: str) -> None:
            if not progress.LINE.fullmatch(line):  # the view has it
                out.print(line, markup=False, highlight=False)

        yield show
