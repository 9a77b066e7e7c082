"""The last resort: whatever is raised, a person reads one line, and a defect of ours leaves a file to attach.

Errors that are the user's to mend are :class:`selfemo.errors.UserError` where they come up. This is for those that
nobody thought of: of the machine, of other people's libraries, and of ours.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import traceback

from selfemo.errors import Exit, UserError
from selfemo.shown import printable, shown

SERVERS = {
    "botocore": ("S3", "check store and its credentials"),
    "boto3": ("S3", "check store and its credentials"),
    "s3transfer": ("S3", "check store and its credentials"),
    "mlflow": ("MLflow", "check mlflow.tracking_uri and its credentials"),
    "sqlalchemy": ("MLflow's database", "check mlflow.tracking_uri"),
    "kubernetes": ("Kubernetes", "check the kubeconfig, and what its account may do"),
    "kfp_server_api": ("Kubeflow Pipelines", "check cluster.host, and who you are there (docs/operations.md, Run)"),
    "huggingface_hub": ("the model hub", "check the name of the model, the network, and HF_TOKEN"),
    "requests": ("the network", "check store, mlflow and the network"),
    "urllib3": ("the network", "check store, mlflow, cluster.host and the network"),
    "httpx": ("the network", "check the addresses in the configuration, and the network"),
}
"""Packages whose exceptions are a server's or the network's doing: who is meant, and what to look at."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO)
"""What is the machine's, and names no file."""


def explained(error: BaseException) -> UserError | None:
    """The error as one that its user can mend; None if it is a defect of ours."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, MemoryError):
        return UserError("this machine has not enough memory for it", where="memory", fix="do less at a time")
    if known := SERVERS.get(type(error).__module__.split(".")[0]):
        where, fix = known
        words = " ".join(str(error).split())[:600] or type(error).__name__
        return UserError(words, where=where, fix=fix)
    if isinstance(error, (ConnectionError, TimeoutError)):
        return UserError(str(error) or type(error).__name__, where="the network", fix="check store, mlflow and network")
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is not None:
            name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
            fix = "check that it is there, who may read and write it, and that the disk has room"
            return UserError(str(error.strerror), where=name, fix=fix)
        if error.errno in FULL:
            fix = "see its disks (df) and limits (ulimit -n), then give the same command again"
            return UserError(str(error.strerror), where="this machine", fix=fix)
    return None


def told(error: BaseException) -> tuple[str, Exit]:
    """What a person reads of an error, and the exit code; of a defect, the traceback is kept."""
    if (ours := explained(error)) is not None:
        return f"selfemo: {shown(ours)}", Exit.BAD_INPUT
    words = printable(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return f"selfemo: this is a defect of selfemo: {words}\n  fix: report it with the file {_kept(error)}", Exit.DEFECT


def _kept(error: BaseException) -> str:
    """A file with the traceback, readable for its user alone, without credentials; its name."""
    from selfemo import __version__

    head = [f"selfemo {__version__}, Python {platform.python_version()}, {platform.platform()}", " ".join(sys.argv)]
    lines = "".join(traceback.format_exception(error)).splitlines()
    try:
        descriptor, name = tempfile.mkstemp(prefix="selfemo-defect-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as out:
            out.write("\n".join(map(printable, [*head, "", *lines])) + "\n")
    except OSError as full:
        return f"(which could not be written: {full.strerror}; the last line was {lines[-1][:200] if lines else ''})"
    return name
