"""What is found of a machine, in the words and units that a person and a program read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Missing:
    """Something that is not here.

    Attributes:
        what: It.
        why: The setting or the command that would use it.
        fix: The command or the change that brings it.
        needed: Whether this configuration cannot do without.
    """

    what: str
    why: str
    fix: str
    needed: bool = True


@dataclass(frozen=True)
class ServerFinding:
    """A server that a configuration names or leaves to us.

    Attributes:
        name: ``s3``, ``mlflow`` or ``kubeflow``; ``store`` where artifacts lie in a directory.
        address: Where it is; empty for an embedded one that does not run.
        state: What is to be said of it.
    """

    name: str
    address: str
    state: str


@dataclass(frozen=True)
class Findings:
    """All that was found.

    Attributes:
        machine: ``system``, ``processor``, ``instructions``, ``cores``, ``memory_free`` (bytes, null is unknown),
            ``gpus`` (names), and ``workdir`` and ``temporary``, each with ``place`` and ``free`` (bytes).
        versions: Of Python and of packages by name; null is not installed.
        extras: Extras of this package by name, with what is not installed of each.
        services: Servers, embedded ones too.
        chosen: What the configuration makes of this machine; see :func:`selfemo.doctor.choices.choices`.
        missing: What is not here, needed or not.
    """

    machine: Mapping[str, Any]
    versions: Mapping[str, str | None]
    extras: Mapping[str, tuple[str, ...]]
    services: tuple[ServerFinding, ...]
    chosen: Mapping[str, Any]
    missing: tuple[Missing, ...]

    @property
    def needed(self) -> tuple[Missing, ...]:
        """What the configuration cannot do without."""
        return tuple(m for m in self.missing if m.needed)
