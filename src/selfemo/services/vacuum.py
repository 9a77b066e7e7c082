"""Give the disk back what was deleted from the embedded S3: SeaweedFS rewrites its volumes when it is told to."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

from selfemo.errors import UserError
from selfemo.progress import heartbeat
from selfemo.services.embedded import status

LOOKS = 5
"""Times the server is told, a second apart: deletions reach its volumes some two seconds after they were answered."""
SECONDS = 1800
"""That one rewriting may take."""
GARBAGE = 0.05
"""Least share of a volume that must be garbage to rewrite it; by itself the server waits for 30 %."""


def vacuum(workdir: Path) -> int:
    """Have the S3 server rewrite its volumes without what was deleted; it does so by itself only from 30 % on.

    Returns:
        Bytes of the disk that this gave back.

    Raises:
        UserError: If the server does not run.
    """
    import psutil

    server = status(workdir).processes.get("s3")
    if server is None:
        raise UserError("the embedded S3 server does not run", where=str(workdir), fix="selfemo services start")
    option = "-master.port="
    try:
        command = psutil.Process(server.pid).cmdline()
    except psutil.Error:
        command = []  # it has ended just now
    master = next((a.removeprefix(option) for a in command if a.startswith(option)), "")
    data = workdir / "services" / "s3"
    before = _disk(data)
    with heartbeat("waiting for the embedded S3 to rewrite its volumes"):
        for _ in range(LOOKS):
            address = f"http://127.0.0.1:{master}/vol/vacuum?garbageThreshold={GARBAGE}"
            try:
                with urllib.request.urlopen(address, timeout=SECONDS):
                    pass
            except (OSError, ValueError) as error:
                raise UserError(
                    f"the embedded S3 does not rewrite its volumes: {error}", where=str(workdir), fix="try again"
                ) from None
            time.sleep(1)
    return max(0, before - _disk(data))


def _disk(folder: Path) -> int:
    """Bytes of the volumes' files."""
    return sum(f.stat().st_size for f in folder.glob("*.dat"))
