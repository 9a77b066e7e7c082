"""What promotion and cards need of the run that they are part of."""

from __future__ import annotations

from typing import Protocol

from selfemo.config import Config
from selfemo.registry.client import Registry
from selfemo.store.artifacts import Manifest, Store


class Named(Protocol):
    """What a policy's name stands for."""

    @property
    def uri(self) -> str:
        """Of its weights."""
        ...

    @property
    def manifest(self) -> Manifest | None:
        """Of its artifact; None if it is not one."""
        ...

    @property
    def digest(self) -> str:
        """Hash over its files; empty if it is no artifact."""
        ...


class Names(Protocol):
    """What looks policies up by name; :class:`selfemo.policies.Policies` does."""

    def find(self, name: str) -> Named:
        """What a name stands for now."""
        ...

    def manifest(self, uri: str) -> Manifest | None:
        """Of a policy's artifact, read once; None if nothing is published there."""
        ...


class Surroundings(Protocol):
    """Configuration, store, registry and policies of a run; :class:`selfemo.context.Context` has them."""

    config: Config

    @property
    def store(self) -> Store:
        """Where artifacts lie."""
        ...

    @property
    def registry(self) -> Registry:
        """MLflow."""
        ...

    @property
    def policies(self) -> Names:
        """By name."""
        ...
