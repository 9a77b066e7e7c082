"""What promotion and cards need of the run that they are part of."""

from __future__ import annotations

from typing import Protocol

from selfemo.config import Config
from selfemo.registry.client import Registry
from selfemo.store.artifacts import Store


class Surroundings(Protocol):
    """Configuration, store and registry of a run; :class:`selfemo.context.Context` has them."""

    config: Config

    @property
    def store(self) -> Store:
        """Where artifacts lie."""
        ...

    @property
    def registry(self) -> Registry:
        """MLflow."""
        ...
