"""The servers, proxies and undisturbed results that the points of the matrix are held against."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from selfemo import config as configuration
from selfemo import services
from selfemo.config import Config
from selfemo.context import Context
from selfemo.services import record
from tests.conftest import ROOT, SMALL
from tests.faults.process import End, attempt
from tests.faults.work import WORK, publish, right, versions

LEASE = 3.0
"""Seconds of the promotion lock here, in place of two minutes: the dead are waited for that long."""


@dataclass
class World:
    """Real servers, a proxy in front of each, a small model, and what each step makes of it when nothing goes wrong.

    Attributes:
        place: Directory for all of it.
        made: URIs by step.
        digests: Of these artifacts.
        requests: Of each work, by the proxy they went through.
        files: Calls of each work that change the disk.
        seconds: That each work takes.
    """

    place: Path
    made: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def config(self, name: str, *more: str) -> Config:
        """A run of its own, through the proxies."""
        uris = [f"store.endpoint=http://127.0.0.1:{self.ports['s3']}", "store.root=s3://selfemo"]
        uris += [f"mlflow.tracking_uri=http://127.0.0.1:{self.ports['mlflow']}", f"mlflow.model={name}"]
        base = [f"policy.base={self.place / 'model'}", f"workdir={self.place / name}", f"run={name}"]
        return configuration.load(None, [*SMALL, "warmup.epochs=2", *base, *uris, *more])

    def fault(self, through: str, fault: dict[str, Any]) -> int:
        """Set a fault, or none; how many requests have come since the last time."""
        url = f"http://127.0.0.1:{self.ports[through]}/__fault__"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(fault).encode()), timeout=30) as answer:
            return int(answer.read())

    def calm(self) -> dict[str, int]:
        """No faults any more; the requests by proxy since the last time."""
        return {through: self.fault(through, {}) for through in self.ports}

    def log(self, name: str) -> Path:
        """Where the processes of a point write."""
        return self.place / f"{name}.log"

    def learn(self, names: tuple[str, ...]) -> None:
        """Do some work with nothing going wrong, and note what it comes to and takes."""
        config = self.config("calm")
        for name in names:
            if name in ("promote", "rollback"):
                config = self.config(f"calm-{name}")
                ready(self, config, name)
            self.calm()
            began = time.monotonic()
            end = attempt(partial(WORK[name], config, self.made), self.log("calm"))
            if end.outcome != "done":
                raise SystemExit(f"{name} fails by itself: {end.said}\nsee {self.log('calm')}")
            self.seconds[name], self.files[name] = time.monotonic() - began, end.files
            for through, count in self.calm().items():
                self.requests[name, through] = count
            if name in ("promote", "rollback", "fetch"):
                continue
            self.made[name] = end.said
            digest = attempt(partial(digest_of, config, end.said), self.log("calm"))
            self.digests[name] = digest.said


def digest_of(config: Config, uri: str) -> str:
    """Of something that is published."""
    found = Context(config).store.manifest(uri)
    assert found is not None
    return found.digest


def ready(world: World, config: Config, work: str) -> None:
    """What has to be there before a decision, a promotion or a rollback."""
    if work == "decide":  # the card names the run's data
        attempt(lambda: WORK["prepare"](config, world.made), world.log(config.run))
        return
    attempt(partial(versions, config, world.made), world.log(config.run))
    if work == "rollback":
        attempt(lambda: WORK["promote"](config, world.made), world.log(config.run))


@contextmanager
def opened(place: Path, workdir: Path | None, areas: Collection[str]) -> Iterator[World]:
    """A world, and its end.

    Args:
        place: Empty directory.
        workdir: Whose servers are used; None starts some.
        areas: Where things are to go wrong: whole steps take a model and its libraries.
    """
    steps = bool({"steps", "runner"} & set(areas))
    own = workdir is None
    running = services.ensure(workdir or place / "world", ("s3", "mlflow"))
    os.environ.update(running.environment, MLFLOW_DISABLE_TELEMETRY="true", TOKENIZERS_PARALLELISM="false")
    os.environ.pop("MLFLOW_S3_ENDPOINT_URL", None)
    world = World(place)
    proxies = []
    try:
        for name in ("s3", "mlflow"):
            command = [sys.executable, "-m", "tests.faults.proxy", running.processes[name].url]
            proxies.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))
            assert proxies[-1].stdout is not None
            world.ports[name] = int(proxies[-1].stdout.readline())
        _sources(world)
        _import(steps)
        if steps:
            _model(world)
            world.learn(("prepare", "warmup", "evaluate", "decide", "generate", "filter", "train"))
        world.learn(("publish", "fetch"))
        if "deciding" in areas:
            world.learn(("promote", "rollback"))
        yield world
    finally:
        for proxy in proxies:
            proxy.terminate()
            proxy.wait(30)
        if own:
            services.stop(place / "world")


def _sources(world: World) -> None:
    """Two small artifacts to fetch and to promote, and a directory to publish."""
    folder = world.place / "folder"
    (folder / "onnx").mkdir(parents=True)
    for number, name in enumerate(("config.json", "model.safetensors", "tokenizer.json", "onnx/model.onnx")):
        (folder / name).write_bytes(bytes([number]) * 50_000)
    world.made["folder"] = str(folder)
    for name in ("published", "other"):
        config = world.config(name)
        end = attempt(partial(publish, config, world.made), world.log("calm"))
        if end.outcome != "done":
            raise SystemExit(f"nothing can be published: {end.said}")
        world.made[name] = end.said


def _model(world: World) -> None:
    from selfemo.data.corpora import load_corpus
    from selfemo.data.corpora.rows import BadRows
    from tests.conftest import _tiny

    def make() -> str:
        return str(_tiny("qwen3", world.place / "model", load_corpus("sample", None, BadRows())))

    end = attempt(make, world.log("calm"))
    if end.outcome != "done":
        raise SystemExit(f"no model: {end.said}")


def _import(steps: bool) -> None:
    """Load once what every forked process needs; nothing that starts a thread."""
    import boto3  # noqa: F401
    import mlflow  # noqa: F401

    import selfemo.registry.promotion
    import selfemo.serving.command
    from selfemo.store import lock

    inspect.unwrap(lock.held).__kwdefaults__["seconds"] = LEASE  # of what contextmanager wraps
    selfemo.registry.promotion.LOOP_WAITS = LEASE + 10
    if steps:
        import trl  # noqa: F401

        import selfemo.steps
        import selfemo.training.round_trainers
        import selfemo.training.warmup


def servers_again(place: Path, name: str, fault: str, place_in_time: float, details: dict[str, Any]) -> tuple[End, str]:
    """Kill embedded servers or who starts them, damage their record, and give the same command again.

    Returns:
        How the first attempt ended, and what is wrong after the second; empty if nothing is.
    """
    config = Config(workdir=str(place / "servers"))
    workdir, log = Path(config.workdir), place / f"{name}.log"

    def up() -> str:
        running = Context(config).services
        return json.dumps({n: p.url for n, p in running.processes.items()})

    def write() -> str:
        context = Context(config)
        folder = place / f"{name}-written"
        folder.mkdir()
        (folder / "a").write_text(name)
        context.store.publish(folder, context.store.uri(name), step="s")
        return up()

    def check() -> str:
        context = Context(config)
        text = (context.store.fetch(context.store.uri(name)) / "a").read_text()
        context.registry.artifacts(context.registry.parent, [place / f"{name}-written" / "a"])
        return "" if text == name else "what was written is another"

    before = attempt(write, log)
    if before.outcome != "done":
        return before, f"before the fault: {before.said}"
    killed = details["server"].split(" and ")
    if fault == "starter killed":
        attempt(lambda: str(services.stop(workdir)), log)
        first = attempt(up, log, die_after=4 * place_in_time)
    else:
        running = services.recorded(workdir).processes
        for server in killed:
            if fault == "killed alone":
                os.kill(running[server].pid, signal.SIGKILL)
            else:
                os.killpg(running[server].pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(running[s].pid) for s in killed if psutil.pid_exists(running[s].pid)], 5)
        first = End("killed", "")
    file = record.state_file(workdir)
    if details["record"] == "damaged":
        file.write_text(file.read_text()[:20] if file.exists() else "{")
    elif details["record"] == "gone":
        file.unlink(missing_ok=True)
    elif details["record"] == "of an older release" and file.exists():
        file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "ports"}))
    second = attempt(check, log)
    return first, second.said if second.outcome == "done" else f"{second.outcome}: {second.said}"


def checked(world: World, config: Config, work: str, said: str) -> str:
    """What is wrong in the end, found out by a process that nothing befalls."""
    end = attempt(lambda: right(config, work, said, world.made, world.digests), world.log(config.run))
    return end.said if end.outcome == "done" else f"cannot be checked: {end.said}"
