"""What every step needs from its surroundings: the store, the registry, a place to work, its own record."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfemo import __version__, addresses, events, fingerprint, logs, processes, services
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.places import private
from selfemo.policies import Policies
from selfemo.progress import heartbeat
from selfemo.registry.client import Registry
from selfemo.registry.credentials import moved
from selfemo.store.artifacts import Manifest, Store

log = logging.getLogger(__name__)

FAILURE = "selfemo.failure"
"""Tag of a pipeline's run: what the step that failed last said."""
PUBLISHED_WITHIN = 7200.0
"""Seconds from the end of a step's work to its artifact: large weights over a slow network take their time."""


@dataclass(frozen=True)
class Published:
    """A step's artifact: its URI and what it says about itself."""

    uri: str
    manifest: Manifest

    @property
    def result(self) -> Mapping[str, Any]:
        """The step's small result, ``seconds`` included."""
        return self.manifest.result


def code_version() -> str:
    """The commit of a checkout, or what the environment says of an image, or the package's version."""
    if given := os.environ.get("SELFEMO_CODE_VERSION"):
        return given
    here = Path(__file__).resolve().parents[2]
    if (here / ".git").exists():
        try:
            command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
            return f"{__version__}+{subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}"
        except (OSError, subprocess.CalledProcessError):
            pass
    return __version__


_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables in which boto3 looks for an S3 endpoint."""


def _variable(name: str, check: Callable[[str], str]) -> str | None:
    """A variable of the environment that holds an address; None if it is not set.

    Raises:
        UserError: If it holds none: set and empty is not unset, to other people's programs.
    """
    value = os.environ.get(name)
    try:
        return None if value is None else check(value)
    except ValueError as error:
        raise UserError(str(error), where=name, fix=f"set it right, or: unset {name}") from None


class Context:
    """Store, registry and working directory of a configuration.

    Servers that the configuration leaves to us are started when they are first needed.

    Args:
        config: Of the run.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.workdir = Path(os.path.expandvars(config.workdir)).expanduser().resolve()
        logs.on_failure(self._tell)

    @property
    def portable(self) -> Config:
        """The configuration with its working directory whole, for a file elsewhere that another process reads."""
        return self.config.model_copy(update={"workdir": str(self.workdir)})

    @cached_property
    def embedded(self) -> tuple[str, ...]:
        """Names of the servers that are ours to run."""
        own_s3 = self.config.store.root is None
        own_mlflow = self.config.mlflow.tracking_uri is None and not self._given_mlflow
        return tuple(n for n, own in (("s3", own_s3), ("mlflow", own_mlflow)) if own)

    @property
    def _given_mlflow(self) -> str | None:
        given = _variable("MLFLOW_TRACKING_URI", addresses.tracking)
        ours = services.recorded(self.workdir).processes.get("mlflow")
        return None if ours is not None and given == ours.url else given

    @cached_property
    def root(self) -> str:
        """Root of the store."""
        return self.config.store.root or f"s3://{services.embedded.BUCKET}"

    @cached_property
    def services(self) -> services.Services:
        """The embedded servers, running."""
        return services.ensure(self.workdir, self.embedded, f"{self.root}/mlflow", self.config.store.endpoint)

    def start_again(self) -> None:
        """Start those of our servers that have died."""
        if self.embedded:
            services.ensure(self.workdir, self.embedded, f"{self.root}/mlflow", self.config.store.endpoint)

    @cached_property
    def store(self) -> Store:
        """The artifact store."""
        with suppress(OSError):  # who writes there says so
            private(self.workdir)
        cache = self.workdir / "cache" / "artifacts"
        if "s3" not in self.embedded:
            for name in _ENDPOINTS:
                _variable(name, addresses.web)
            return Store(self.root, cache, self.config.store.endpoint)
        running = self.services
        return Store(self.root, cache, running.processes["s3"].url, (running.access_key, running.secret_key))

    def servers(self, needs: tuple[str, ...]) -> list[tuple[str, str]]:
        """Addresses of those of ``s3`` and ``mlflow`` that are not ours to run, each with the setting that names it."""
        found = []
        uri = self.config.mlflow.tracking_uri or self._given_mlflow
        if "mlflow" in needs and uri and uri.startswith(("http://", "https://")):
            named = "mlflow.tracking_uri" if self.config.mlflow.tracking_uri else "MLFLOW_TRACKING_URI"
            found.append((moved(uri), named))
        if "s3" in needs and self.root.startswith("s3://") and "s3" not in self.embedded:
            variables = ((_variable(name, addresses.web), name) for name in _ENDPOINTS)
            given = (self.config.store.endpoint, "store.endpoint")
            found += [(url, named) for url, named in (given, *variables) if url][:1]
        return found

    @cached_property
    def registry(self) -> Registry:
        """The MLflow registry."""
        uri = self.config.mlflow.tracking_uri or self._given_mlflow
        if uri is None:
            uri = self.services.processes["mlflow"].url
        return Registry(moved(uri), self.config)

    def _tell(self, error: str) -> None:
        """Write down why a step failed, where the report finds it; nothing is waited for, and nothing else fails."""
        if "registry" not in self.__dict__:  # never asked for: it may be what failed
            return
        with suppress(Exception):
            hasty = Registry(self.registry.tracking_uri, self.config, patience=0)
            hasty.tags(hasty.parent, {FAILURE: error[:4000]})

    @cached_property
    def policies(self) -> Policies:
        """What looks policies up by name; the registry is asked, and started, for names that are its own."""
        return Policies(
            self.config,
            lambda: self.store,
            lambda name: self.registry.versions.source(name),
            self.workdir / "cache" / "models",
        )

    def uri(self, name: str, round: int, inputs: Mapping[str, Any]) -> str:
        """Where a step publishes, by its configuration, code and inputs; the arguments are those of :meth:`step`."""
        text = json.dumps([self.config.digest(name), fingerprint.of_step(name), inputs], sort_keys=True, default=str)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        return self.store.uri(self.config.run, f"round-{round}", f"{name}-{key}")

    def done(self, name: str, round: int, inputs: Mapping[str, Any]) -> Published | None:
        """What a step published for the same inputs, if it has; the arguments are those of :meth:`step`."""
        uri = self.uri(name, round, inputs)
        manifest = self.store.manifest(uri)
        if manifest is None:
            return None
        log.info("%s of round %d is already there: %s", name, round, uri)
        _note("there", name, round, inputs, uri, manifest)
        if manifest.code != (now := code_version()):
            log.info("it was made by version %s; what it depends on is the same in this one, %s", manifest.code, now)
        return Published(uri, manifest)

    def _await(self, uri: str) -> Published:
        """What rank 0 publishes; if it dies, the launcher ends this process too."""
        deadline = time.monotonic() + PUBLISHED_WITHIN
        with heartbeat(f"waiting for rank 0 to publish {uri}"):
            while (manifest := self.store.manifest(uri)) is None:
                if time.monotonic() > deadline:
                    fix = "see the log of rank 0; then give the same command again"
                    raise UserError(f"rank 0 did not publish in {PUBLISHED_WITHIN:.0f} s", where=uri, fix=fix)
                time.sleep(0.5)
        return Published(uri, manifest)

    def step(
        self, name: str, round: int, inputs: Mapping[str, Any], work: Callable[[Path, Path], Mapping[str, Any]]
    ) -> Published:
        """Do a step once: if its artifact for the same inputs is already there, that is the result.

        Where several processes do the step together, all of them work and rank 0 publishes.

        Args:
            name: Of the step, a key of :data:`selfemo.config.SECTIONS`.
            round: Number of the round; 0 is before the first.
            inputs: URIs and values the result depends on, besides the configuration.
            work: Given an empty directory for the files to publish and a scratch directory that survives being
                killed, does the step and returns its small result.
        """
        uri = self.uri(name, round, inputs)
        scratch = self.workdir / "scratch" / self.config.run / f"{round}-{uri.rsplit('/', 1)[1]}"
        if done := self.done(name, round, inputs):
            if not processes.rank():  # who published may have been killed right afterwards
                shutil.rmtree(scratch, ignore_errors=True)
            return done
        out = scratch / "out"
        if processes.rank():
            work(out, scratch / "work")
            return self._await(uri)
        shutil.rmtree(out, ignore_errors=True)  # of an attempt that was killed
        out.mkdir(parents=True)
        log.info("%s of round %d starts", name, round)
        _note("starts", name, round, inputs, uri)
        started = time.monotonic()
        result = dict(work(out, scratch / "work"))
        result["seconds"] = seconds_since(started)
        result["accelerator_seconds"] = float(f"{result['seconds'] * processes.accelerators():.1f}")
        result["machine"] = processes.machine()
        result["fingerprint"] = fingerprint.of_step(name)[:12]
        digest = self.config.digest(name)
        manifest = self.store.publish(
            out, uri, step=name, inputs=dict(inputs), config=digest, code=code_version(), result=result
        )
        shutil.rmtree(scratch, ignore_errors=True)
        log.info("%s of round %d is published: %s", name, round, uri)
        _note("published", name, round, inputs, uri, manifest)
        return Published(uri, manifest)


def _note(
    state: str, name: str, round: int, inputs: Mapping[str, Any], uri: str, manifest: Manifest | None = None
) -> None:
    """Tell who watches the run what became of a step, or of the shard that its inputs name."""
    told: dict[str, Any] = {key: inputs[key] for key in ("shard", "of") if key in inputs}
    if manifest is not None:
        told["result"] = dict(manifest.result)
    events.note(events.STEP, state, step=name, round=round, uri=uri, **told)


def seconds_since(started: float) -> float:
    """Seconds to a tenth since a time of the monotonic clock."""
    return float(f"{time.monotonic() - started:.1f}")
