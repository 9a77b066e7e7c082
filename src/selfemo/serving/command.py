"""``selfemo serve`` and ``selfemo fetch``: exactly the registered version, or nothing."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

from selfemo.config import Config
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.serving.service import Service

log = logging.getLogger(__name__)

KEY = "SELFEMO_SERVE_KEY"
"""Variable that holds the key which clients have to give."""
LOCAL = ("127.0.0.1", "localhost", "::1")


def service_of(config: Config, policy: str, name: str, digest: str = "") -> Service:
    """A policy, loaded and checked.

    Args:
        config: Sections ``policy``, ``store`` and ``corpora``.
        policy: Its name: ``models:/self-emo@champion``, a URI, a directory.
        name: Under which clients know it; empty is the registered name.
        digest: That the weights must have; empty asks for none.

    Raises:
        UserError: If there is none such, or the weights are others.
    """
    found = Context(config).policies.find(policy)
    checked(found.uri, found.digest, digest)
    identity = {"source": found.uri} | ({"digest": found.digest} if found.digest else {})
    return Service(found.player(), name or _name(policy), config.corpora[0].name, identity)


def checked(uri: str, found: str, wanted: str) -> None:
    """Refuse weights of another digest than asked for.

    Raises:
        UserError: If they differ.
    """
    if wanted and wanted != found:
        raise UserError(
            f"the weights there have digest {found or '(none)'}, not {wanted}", where=uri,
            fix="serve what the reference names, or write the reference anew: selfemo sync-registry",
        )  # fmt: skip


def _name(policy: str) -> str:
    """``models:/self-emo@champion`` to ``self-emo``; other names by their last part."""
    if policy.startswith("models:/"):
        return policy.removeprefix("models:/").partition("@")[0].partition("/")[0]
    return policy.rstrip("/").rsplit("/", 1)[-1]


def serve(config: Config, policy: str, name: str, digest: str, host: str, port: int) -> None:
    """Serve until interrupted.

    Raises:
        UserError: If it is to listen to others without a key.
    """
    key = os.environ.get(KEY, "")
    if host not in LOCAL and not key:
        raise UserError(
            f"to listen on {host}, clients have to give a key", where="--host",
            fix=f"export {KEY}, or listen on 127.0.0.1",
        )  # fmt: skip
    import uvicorn

    from selfemo.serving.app import app

    service = service_of(config, policy, name, digest)
    log.info("serving %s (%s) on http://%s:%d", service.name, service.identity["source"], host, port)
    uvicorn.run(app(service, key), host=host, port=port, log_level="warning", access_log=False)


def fetch(config: Config, policy: str, digest: str, out: Path) -> str:
    """Bring weights to a directory, every file checked; all of them or none.

    Args:
        config: Section ``store``.
        policy: Name of the weights.
        digest: That they must have; empty asks for none.
        out: Directory that is made; one with the same weights is left as it is.

    Returns:
        Their digest.

    Raises:
        UserError: If there are none, they are others, or something else is in the way.
    """
    context = Context(config)
    found = context.policies.find(policy)
    uri, manifest = found.uri, found.manifest
    if manifest is None:
        raise UserError("nothing is published here", where=uri, fix="check the name of the weights")
    checked(uri, manifest.digest, digest)
    mark = out / ".selfemo-digest"
    if mark.is_file() and mark.read_text() == manifest.digest:
        return manifest.digest
    if out.exists() and any(out.iterdir()):
        raise UserError("holds something else", where=str(out), fix="remove it, or name another directory")
    out.parent.mkdir(parents=True, exist_ok=True)
    # In a pod the directory is a mount, which cannot be renamed onto: fill it, the mark last.
    with tempfile.TemporaryDirectory(dir=out if out.is_dir() else out.parent, prefix=".selfemo-") as directory:
        context.store.cache = Path(directory)
        files = context.store.fetch(uri)
        out.mkdir(exist_ok=True)
        for file in sorted(files.iterdir()):
            shutil.move(str(file), out / file.name)
    mark.write_text(manifest.digest)
    return manifest.digest
