"""What a store must keep: what registered versions, unfinished runs and records need. Defined here.

Needed are, with what their manifests say they were made of:

- of every version of every registered model: the weights, and the scores, decision, samples and data behind its card;
- everything of a run that has not finished, since the same command goes on with it;
- of a run that has finished: its decisions and its data, as its newest attempt has noted them in MLflow;
- the policies that records of a study name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.registry.mlflow_client import pages, quoted
from selfemo.store.artifacts import Manifest

_BEHIND = ("samples", "prepared", "scores", "champion_scores")
"""Inputs that a version's card, and a comparison with it, are made from."""

_NEWEST_FIRST = ["attributes.start_time DESC"]


@dataclass
class MlflowNames:
    """What MLflow says.

    Attributes:
        names: Of all runs, deleted ones too.
        unfinished: Names of those whose newest attempt has not ended well.
        roots: What finished runs have noted: their data and decisions.
        versions: What registered versions name.
    """

    names: set[str] = field(default_factory=set)
    unfinished: set[str] = field(default_factory=set)
    roots: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)


def ask(context: Context) -> MlflowNames:
    """What MLflow knows of runs and versions."""
    from mlflow.entities import ViewType

    client = context.registry.client
    known = MlflowNames()
    runs = list(pages(client.search_runs, _experiments(client), run_view_type=ViewType.ALL, order_by=_NEWEST_FIRST))
    known.names = {name for run in runs if (name := _name_of(run))}
    newest, known.unfinished = _attempts(runs)
    for run in newest:
        if prepared := run.data.tags.get("selfemo.prepared"):
            known.roots.add(prepared)
        known.roots.update(json.loads(run.data.tags.get("selfemo.decisions", "[]")))
        known.roots.add(run.data.params.get("policy.base", ""))
    for version in pages(client.search_model_versions):
        tags = version.tags
        known.versions |= {str(version.source), tags.get("selfemo.scores", ""), tags.get("selfemo.decision", "")}
    return known


def goes_on(context: Context, name: str) -> bool:
    """Whether a run is unfinished at this moment: asked of MLflow for its name alone, so it costs little.

    Whoever begins a run, or begins it again, first opens the MLflow run of that name, and only then looks for artifacts
    (``prepare``).

    Args:
        context: Its registry.
        name: Of the run.
    """
    client, where = context.registry.client, f"tags.`selfemo.run` = {quoted(name)}"
    _, unfinished = _attempts(pages(client.search_runs, _experiments(client), where, order_by=_NEWEST_FIRST))
    return name in unfinished


def _experiments(client: Any) -> list[str]:
    from mlflow.entities import ViewType

    return [e.experiment_id for e in pages(client.search_experiments, view_type=ViewType.ALL)]


def _attempts(runs: Iterable[Any]) -> tuple[list[Any], set[str]]:
    """The newest attempts at runs, by experiment and name, and names of those that have not ended well.

    Args:
        runs: Of MLflow, the newest first; deleted ones do not count.
    """
    newest: dict[tuple[str, str], Any] = {}
    unfinished = set()
    for run in runs:
        if (name := _name_of(run)) and run.info.lifecycle_stage == "active":
            newest.setdefault((run.info.experiment_id, name), run)
            if run.info.status == "RUNNING":
                unfinished.add(name)
    return list(newest.values()), unfinished | {n for (_, n), run in newest.items() if run.info.status != "FINISHED"}


def _name_of(run: Any) -> str:
    """Whose whole an MLflow run is: our run's name. Old ones of KFP's lack our tag, not the configuration."""
    tags, params = run.data.tags, run.data.params
    if tags.get("selfemo.kind") == "round":
        return ""
    return str(tags.get("selfemo.run") or (params.get("run", "") if "policy.base" in params else ""))


def recorded(folders: Sequence[Path]) -> set[str]:
    """Policies that records of studies name."""
    found = set()
    for file in sorted(f for folder in folders for f in folder.rglob("runs/*.json")):
        try:
            found.add(str(json.loads(file.read_text())["policy"]))
        except (ValueError, KeyError, TypeError):
            raise UserError("not a record of a study", where=str(file), fix="remove it, or mend it") from None
    return found


def needed(context: Context, there: set[str], whole: set[str], versions: set[str]) -> dict[str, Manifest]:
    """Artifacts that must stay, with their manifests.

    Args:
        context: Its store.
        there: URIs of all artifacts.
        whole: Those that stay with everything they were made from.
        versions: Those that stay with what describes them.
    """
    found: dict[str, Manifest] = {}
    for roots, follow in ((whole, _made_from), (versions, _behind)):
        seen: set[str] = set()
        waiting = list(roots)
        while waiting:
            uri = waiting.pop()
            if uri in seen or uri not in there:
                continue
            seen.add(uri)
            manifest = found.get(uri) or context.store.manifest(uri)
            if manifest is not None:
                found[uri] = manifest
                waiting += follow(manifest)
    return found


def _made_from(manifest: Manifest) -> list[str]:
    """All that an artifact's inputs and result name; what is no artifact is sorted out later."""
    return [str(value) for value in (*manifest.inputs.values(), *manifest.result.values())]


def _behind(manifest: Manifest) -> list[str]:
    """What a version's card and the gate read, and without which its weights cannot be loaded."""
    found = [str(manifest.inputs[key]) for key in _BEHIND if key in manifest.inputs]
    if manifest.step != "decide" and "policy" in manifest.result:
        found.append(str(manifest.result["policy"]))  # it stands for that one
    if "adapter_config.json" in manifest.files:
        found.append(str(manifest.inputs.get("policy") or manifest.inputs.get("base")))  # what it adapts
    return found
