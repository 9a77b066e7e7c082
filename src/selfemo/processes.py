"""Processes that train together: how they are started here, and what each knows of its place.

The same command runs in every process. Under torchrun, here or on a cluster, it takes part; outside, where more
than one process is configured, it starts them (torch's elastic agent) and waits.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfemo import hardware
from selfemo.errors import Exit, UserError

LOG_LINES = 30
"""Last lines of a dead rank's log that its error quotes."""


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """This process's number; 0 writes what is published."""
    return int(os.environ["RANK"]) if launched() else 0


def local_rank() -> int:
    """This process's number among those of its machine."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0


def node() -> tuple[int, int]:
    """This machine's number, and how many of them train together."""
    return (int(os.environ["GROUP_RANK"]), int(os.environ["GROUP_WORLD_SIZE"])) if launched() else (0, 1)


def world() -> int:
    """How many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def accelerators() -> int:
    """GPUs that a step has: those of its machine, or one for each process where machines train together; else 0.

    torch is asked where it is loaded; a step that does without it uses none.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return max(int(torch.cuda.device_count()), world())


def machine() -> str:
    """What a step runs on, in a few words, for its record: with the GPU, where torch is loaded and has one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return hardware.describe()
    return f"{hardware.describe()}, {accelerators()} x {torch.cuda.get_device_name(0)}"


def wanted(count: int, strategy: str) -> bool:
    """Whether processes have yet to be started: several, or one for DeepSpeed, which knows no other way.

    Args:
        count: Processes on this machine.
        strategy: Of ``launch.strategy``.
    """
    return not launched() and (count > 1 or strategy != "ddp")


def start(count: int, arguments: Sequence[str], logs: Path) -> None:
    """Run ``python -m selfemo ARGUMENTS`` in every process and wait for the end; rank 0's log is shown.

    Args:
        count: Processes on this machine.
        arguments: The command line that each process runs.
        logs: Directory for the processes' logs.

    Raises:
        UserError: If a process dies: which, how, and the end of its log.
    """
    from torch import cuda
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=f"selfemo-{os.getpid()}-{time.time_ns()}",
        max_restarts=0,  # the step's own retry resumes from the last checkpoint
        logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=Std.ALL, tee={0: Std.ERR}),
        log_line_prefix_template=" ",
    )
    environment = dict(os.environ)  # processes inherit it; this one gets its own back
    if not cuda.is_available():
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, hardware.cores() // count)))
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)}
    try:
        elastic_launch(settings, sys.executable)("-m", "selfemo", *arguments)
    except ChildFailedError as error:
        raise _dead(error.failures, logs) from None
    except SignalException:
        raise KeyboardInterrupt from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environment)


def _dead(failures: dict[int, Any], logs: Path) -> UserError:
    """The error that names the rank that died first and quotes its log."""
    # Ranks that lose a peer fail too, of a broken connection or ended by the agent: the cause comes before those.
    number, failure = min(failures.items(), key=lambda f: (_rank_of_cause(f[1].exitcode), f[1].timestamp))
    how = f"killed by {signal.Signals(-failure.exitcode).name}" if failure.exitcode < 0 else f"exit {failure.exitcode}"
    files = sorted(logs.glob(f"*/attempt_0/{failure.local_rank}/stderr.log"), key=lambda f: f.stat().st_mtime)
    lines = files[-1].read_text(errors="replace").splitlines()[-LOG_LINES:] if files else []
    quoted = "\n".join(f"  | {line}" for line in lines)
    return UserError(
        f"rank {number} of training died ({how}); the end of its log:\n{quoted}",
        where=str(files[-1]) if files else str(logs),
        fix="mend the cause and give the same command: it goes on from the last checkpoint",
    )


def _rank_of_cause(code: int) -> int:
    """A user's error before a kill before any other failure before an end on request."""
    if code == Exit.BAD_INPUT:
        return 0
    return 3 if code == -signal.SIGTERM else 1 if code < 0 else 2


def began() -> float:
    """When this process began, in seconds of Unix time: with its id, which is used again, it names it for good."""
    import psutil

    return float(psutil.Process().create_time())


def alive(pid: int, began: float) -> bool:
    """Whether the very process still runs that had this id and began then.

    Args:
        pid: Its id.
        began: Of :func:`began`.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - began) < 2 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


CHILD = "SELFEMO_CHILD_OF"
"""Variable of a local run's processes: the id of the one that they end with, which may be gone before they look."""


def die_with_parent(parent: int | None = None, *, group: bool = False) -> None:
    """End this process when the one that started it is gone, so that no orphan writes at the same time as a rerun.

    Args:
        parent: Id of that one, where it is known; it may be gone already.
        group: End all processes of this one's group as well, which it leads.
    """
    parent = os.getppid() if parent is None else parent

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        if group:
            os.killpg(0, signal.SIGKILL)
        os._exit(Exit.INTERRUPTED)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
