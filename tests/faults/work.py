"""What is done when something goes wrong, each in a process that can be killed; and whether it ended right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context
from selfemo.store.artifacts import Manifest, files_of

Made = Mapping[str, str]
"""URIs by step, of the run that nothing befell."""


def step(config: Config, name: str, made: Made) -> str:
    """Do one step of a first round from what the steps before it have made; its URI."""
    from selfemo import steps
    from selfemo.loop import LoopState

    if name == "prepare":
        return steps.prepare(config).uri
    if name == "warmup":
        return steps.warmup(config, made["prepare"]).uri
    if name == "evaluate":
        return steps.evaluation(config, made["warmup"], made["prepare"], 0).uri
    if name == "decide":
        return steps.decide(config, LoopState(), made["warmup"], made["evaluate"], 0)[1]
    if name == "generate":
        return steps.self_play(config, made["warmup"], made["prepare"], 1).uri
    if name == "filter":
        return steps.filter(config, made["generate"], 1).uri
    return steps.train(config, made["warmup"], made["filter"], made["prepare"], 1).uri


def versions(config: Config, made: Made) -> str:
    """Two versions of a model, the first of them champion; what is said of that."""
    from selfemo.registry.promotion import promote_version

    context = Context(config)
    for name in ("published", "other"):
        context.registry.versions.register(made[name], context.registry.round(1), {"selfemo.scores": ""})
    return promote_version(context, "1", force=True, reason="the first")


def promote(config: Config, _: Made) -> str:
    from selfemo.registry.promotion import promote_version

    return promote_version(Context(config), "2", force=True, reason="as the matrix says")


def roll_back(config: Config, _: Made) -> str:
    from selfemo.registry.promotion import roll_back

    return roll_back(Context(config), "as the matrix says")


def publish(config: Config, made: Made) -> str:
    context = Context(config)
    store, source = context.store, Path(made["folder"])
    store.publish(source, store.uri(config.run, "round-0", "prepare-0123456789ab"), step="prepare")
    return store.uri(config.run, "round-0", "prepare-0123456789ab")


def fetch(config: Config, made: Made) -> str:
    from selfemo.serving.command import fetch

    return fetch(config, made["published"], "", Path(config.workdir) / "fetched")


def _one(name: str) -> Callable[[Config, Made], str]:
    return lambda config, made: step(config, name, made)


WORK: dict[str, Callable[[Config, Made], str]] = {
    "promote": promote,
    "rollback": roll_back,
    "publish": publish,
    "fetch": fetch,
    **{name: _one(name) for name in ("prepare", "warmup", "evaluate", "decide", "generate", "filter", "train")},
}


def right(config: Config, work: str, said: str, made: Made, digests: Mapping[str, str]) -> str:
    """What is wrong after the same command was given again; empty if nothing is.

    Args:
        config: Of the point.
        work: What was done.
        said: What it returned in the end.
        made: Of the run that nothing befell.
        digests: By step, of the artifacts of that run.
    """
    context = Context(config)
    if work == "fetch":
        return _fetched(context, made)
    if work in ("promote", "rollback"):
        return _champion(context, "2" if work == "promote" else "1")
    manifest = context.store.manifest(said)
    if manifest is None:
        return "nothing is published"
    if work != "decide" and manifest.digest != digests[work]:
        return "other files than without the fault"
    if left := _leftovers(context, said, manifest):
        return left
    if work == "decide":
        return _champion(context, "1") or _rounds(context)
    return ""


def _fetched(context: Context, made: Made) -> str:
    place = context.workdir / "fetched"
    manifest = context.store.manifest(made["published"])
    assert manifest is not None
    found = {name: file for name, file in files_of(place).items() if not name.startswith(".selfemo-")}
    if found != dict(manifest.files):
        return "other files than were published"
    return "a directory is left" if [p for p in place.iterdir() if p.is_dir() and p.name.startswith(".")] else ""


def _champion(context: Context, wanted: str) -> str:
    """Alias, versions, record and lock, as they are to be."""
    registry = context.registry
    found = registry.versions.alias("champion")
    if found is None or str(found.version) != wanted:
        return f"champion is {'nobody' if found is None else found.version}, not {wanted}"
    every = list(registry.client.search_model_versions(f"name='{registry.model}'"))
    sources = [version.source for version in every]
    if len(sources) != len(set(sources)):
        return f"{len(sources)} versions of {len(set(sources))} policies"
    move = json.loads(registry.client.get_registered_model(registry.model).tags["selfemo.champion_move"])
    if not move["done"]:
        return "the move is not written down as done"
    lock = context.store.backend(context.root).read(context.store.uri("locks", f"promotion-{registry.model}"))
    return "the lock is held" if lock and json.loads(lock)["token"] else ""


def _rounds(context: Context) -> str:
    numbers = [run.data.tags["selfemo.round"] for run in context.registry.rounds()]
    return f"runs of rounds: {', '.join(numbers)}" if len(numbers) != len(set(numbers)) else ""


def _leftovers(context: Context, uri: str, manifest: Manifest) -> str:
    attempts = {found.name.split("/")[0] for found in context.store.backend(uri).scan(uri)} - {"manifest.json"}
    if len([name for name in attempts if name.startswith("files-")]) != 1 or manifest.files_at not in attempts:
        return f"uploads are left: {', '.join(sorted(attempts))}"
    scratch = context.workdir / "scratch" / context.config.run
    left: list[Any] = list(scratch.iterdir()) if scratch.is_dir() else []
    return f"scratch is left: {left[0].name}" if left else ""
