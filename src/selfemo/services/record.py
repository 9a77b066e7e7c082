"""What is known of the embedded servers of a working directory: a file, and the processes themselves.

The file says what was started. It can be behind: who starts a server can be killed before it writes that down, and a
full disk can damage what it writes. So each server carries a mark in its environment, by which it is found all the
same, with its keys.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from selfemo import processes
from selfemo.places import private
from selfemo.store.filelock import locked as file_locked

log = logging.getLogger(__name__)

PLACE, NAME, URL = "SELFEMO_SERVICES_OF", "SELFEMO_SERVICE", "SELFEMO_SERVICE_URL"
"""Variables of a server's process: its working directory, its name, its address."""
ON_OURS = "SELFEMO_SERVICE_ON_OUR_S3"
"""Set for an MLflow whose artifacts lie in the S3 here."""
ACCESS, SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
LOCK_SECONDS = 600.0


@dataclass
class Process:
    """A server: its pid, when that process began (pids are reused), and its address."""

    pid: int
    began: float
    url: str

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return processes.alive(self.pid, self.began)

    def environment(self) -> dict[str, str]:
        """Variables that it was started with; empty if it is gone."""
        import psutil

        try:
            return dict(psutil.Process(self.pid).environ())
        except (psutil.Error, OSError):
            return {}


@dataclass
class Services:
    """What runs for a working directory.

    Attributes:
        access_key, secret_key: Made for this directory; in a file only its owner can read.
        processes: By name, ``s3`` and ``mlflow``.
        ports: By name, those of the last start: a server comes back where it was, since others know its address.
    """

    access_key: str
    secret_key: str
    processes: dict[str, Process] = field(default_factory=dict)
    ports: dict[str, list[int]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which other programs find this S3."""
        return {
            ACCESS: self.access_key,
            SECRET: self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": self.processes["s3"].url,
        }


def place(workdir: Path) -> Path:
    """Directory of the servers' data and logs."""
    return workdir / "services"


def state_file(workdir: Path) -> Path:
    """The file that says what was started."""
    return place(workdir) / "state.json"


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """One starter or stopper at a time in a working directory; what is in it is its owner's alone."""
    private(workdir, also_old=True)
    private(place(workdir), also_old=True)
    with file_locked(place(workdir) / "lock", f"starting or stopping the servers of {workdir}", LOCK_SECONDS):
        yield


def recorded(workdir: Path) -> Services:
    """What the file says and still runs."""
    services = _read(workdir)
    services.processes = {n: p for n, p in services.processes.items() if p.alive()}
    return services


def status(workdir: Path) -> Services:
    """What runs now, recorded or not; processes that ended are left out."""
    services = recorded(workdir)
    if place(workdir).is_dir():
        for name, process in _unrecorded(workdir, services).items():
            services.processes.setdefault(name, process)
            _take_keys(services, process)
    return services


def died(workdir: Path) -> list[str]:
    """Names of servers that were started, not stopped, and do not run."""
    return [name for name, process in _read(workdir).processes.items() if not process.alive()]


def write(workdir: Path, services: Services) -> None:
    """Write the file, whole and on the disk."""
    path = state_file(workdir)
    partial = path.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump(asdict(services), out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)


def _read(workdir: Path) -> Services:
    fresh = Services(f"selfemo-{secrets.token_hex(4)}", secrets.token_hex(20))
    path = state_file(workdir)
    try:
        return _parsed(json.loads(path.read_text()))
    except FileNotFoundError:
        return fresh
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        # Nothing is lost with it: keys are the running server's, or new ones at its next start.
        log.warning("%s is damaged (%s), and is made anew; what runs is looked for", path, type(error).__name__)
        return fresh


def _parsed(row: Any) -> Services:
    processes = {
        str(name): Process(int(p["pid"]), float(p["began"]), str(p["url"])) for name, p in row["processes"].items()
    }
    ports = {str(name): [int(port) for port in ports] for name, ports in row.get("ports", {}).items()}
    keys = row["access_key"], row["secret_key"]
    if not all(isinstance(key, str) and key for key in keys):
        raise ValueError("no keys")
    return Services(*keys, processes, ports)


def _unrecorded(workdir: Path, services: Services) -> dict[str, Process]:
    """Servers of this directory that the file does not know, since who started them was killed."""
    return {
        name: process
        for name, process, leads in _marked(workdir)
        if leads and process.pid not in [p.pid for p in services.processes.values()]
    }


def _take_keys(services: Services, process: Process) -> None:
    found = process.environment()
    if (found.get(NAME) == "s3" or found.get(ON_OURS)) and found.get(ACCESS) and found.get(SECRET):
        services.access_key, services.secret_key = found[ACCESS], found[SECRET]


def _marked(workdir: Path) -> Iterator[tuple[str, Process, bool]]:
    """Processes with our mark: whose server, which, and whether it is the server itself or a child of it."""
    import psutil

    here = str(workdir.resolve())
    for process in psutil.process_iter():
        try:
            if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            found = process.environ()
            if found.get(PLACE) == here and found.get(NAME) and found.get(URL):
                leads = os.getpgid(process.pid) == process.pid
                yield found[NAME], Process(process.pid, process.create_time(), found[URL]), leads
        except (psutil.Error, OSError):
            continue  # it has ended meanwhile, or is none of ours


def end_orphans(workdir: Path, name: str) -> None:
    """End what a server that is gone has left behind: its children keep its port.

    Args:
        workdir: Whose.
        name: Of the server; it does not run.
    """
    import psutil

    ended = []
    for whose, process, leads in _marked(workdir):
        if whose == name and not leads:
            with suppress(psutil.NoSuchProcess):
                ended.append(psutil.Process(process.pid))
                ended[-1].kill()
    psutil.wait_procs(ended, 10)
