"""Which runs there are, and one of them by its name: the one reader of what MLflow and the store know of a run.

The parent run in MLflow is the record of a run: its name, its settings, how it ended, and which decisions and data
count. What these say lies in the store. Nothing is made here: a name that is not there stays so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from selfemo.context import FAILURE, Context
from selfemo.errors import UserError
from selfemo.registry.mlflow_client import pages, quoted
from selfemo.store.artifacts import Manifest

SHOWN = 20
"""Names of runs that an error lists, the newest."""


@dataclass(frozen=True)
class Run:
    """A run as MLflow has it.

    Attributes:
        name: Of the run.
        id: Of its parent run in MLflow.
        status: MLflow's word: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``. A run that was killed before it
            could say so is ``RUNNING`` for ever.
        began: When it was first started.
        ended: When its last attempt ended; None before that.
        settings: Of its last attempt, by ``section.key`` names, as text.
        prepared: URI of its data; empty before they are there.
        decisions: URIs of its last attempt's decisions.
        code: Version of the code that its last attempt began with.
        error: What the step that failed said; empty if none did.
        schedule: Name of the schedule that it is a cycle of; empty for none.
    """

    name: str
    id: str
    status: str
    began: datetime
    ended: datetime | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    prepared: str = ""
    decisions: tuple[str, ...] = ()
    code: str = ""
    error: str = ""
    schedule: str = ""

    @classmethod
    def of(cls, found: Any) -> Run:
        """A parent run of MLflow's."""
        info, tags, params = found.info, found.data.tags, found.data.params
        changed = {key.removeprefix("changed."): value for key, value in tags.items() if key.startswith("changed.")}
        return cls(
            name=tags["selfemo.run"],
            id=str(info.run_id),
            status=str(info.status),
            began=_time(info.start_time),
            ended=_time(info.end_time) if info.end_time and info.status != "RUNNING" else None,
            settings={**params, **changed},  # MLflow's parameters are final: later values are tags
            prepared=tags.get("selfemo.prepared", ""),
            decisions=tuple(json.loads(tags.get("selfemo.decisions", "[]"))),
            code=tags.get("selfemo.code", ""),
            error=tags.get("selfemo.error", "") or tags.get(FAILURE, ""),
            schedule=tags.get("selfemo.schedule", ""),
        )

    def decided(self, context: Context) -> list[Manifest]:
        """Manifests of its decisions that are in this store, by round.

        Args:
            context: Of the store, whatever run it is of.
        """
        found = [context.store.manifest(uri) for uri in self.decisions if here(context, uri)]
        return sorted((m for m in found if m is not None), key=lambda m: int(m.inputs["round"]))

    def elsewhere(self, context: Context) -> str:
        """Root of the store that the run lies in, where that is another than the context's; else empty."""
        made = self.prepared or next(iter(self.decisions), "")
        return "" if not made or here(context, made) else made.split(f"/{self.name}/", 1)[0]


def here(context: Context, uri: str) -> bool:
    """Whether a URI is one of this store."""
    return uri.startswith(f"{context.store.root}/")


def runs(context: Context) -> list[Run]:
    """All runs of the configuration's experiment, the newest first; of several of one name, that which steps write to.

    Args:
        context: Of the registry; its run's name does not matter.
    """
    return _search(context, "tags.`selfemo.kind` = 'pipeline'")


def find(context: Context, name: str) -> Run:
    """The run of a name.

    Args:
        context: Of the registry; its run's name does not matter.
        name: Of the run.

    Raises:
        UserError: If there is none; names those there are.
    """
    found = _search(context, f"tags.`selfemo.kind` = 'pipeline' and tags.`selfemo.run` = {quoted(name)}")
    if not found:
        raise unknown(context, name)
    return found[0]


def unknown(context: Context, name: str) -> UserError:
    """The error for a name that no run has."""
    names = [run.name for run in runs(context)]
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    there = f"name one of these: {', '.join(names[:SHOWN])}{more}" if names else "no run is there yet: selfemo run"
    where = f"experiment {context.config.mlflow.experiment} of {context.registry.client.shown}"
    return UserError(f"no run {name!r}", where=where, fix=there)


def _search(context: Context, where: str) -> list[Run]:
    client = context.registry.client
    experiment = client.get_experiment_by_name(context.config.mlflow.experiment)
    if experiment is None:
        return []
    oldest_first = ["attributes.start_time ASC"]
    first: dict[str, Run] = {}
    for found in pages(client.search_runs, [experiment.experiment_id], where, order_by=oldest_first):
        if name := found.data.tags.get("selfemo.run"):
            first.setdefault(name, Run.of(found))
    return list(reversed(first.values()))


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
