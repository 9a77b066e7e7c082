"""What is compared: a policy of a run, with its scores and all that is known of how it came about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from selfemo.context import Context
from selfemo.data.labels import LabelSpace
from selfemo.data.records import Prediction
from selfemo.errors import UserError
from selfemo.method.evaluation import labels_of, predictions
from selfemo.runs.find import Run, find, here
from selfemo.runs.table import best_of
from selfemo.store.artifacts import Manifest


@dataclass(frozen=True)
class Side:
    """A policy of a run.

    Attributes:
        run: The run.
        context: Of the store.
        decision: Of the round that the policy is of.
        behind: Manifests of all that the scores were made from, by URI.
    """

    run: Run
    context: Context
    decision: Manifest
    behind: Mapping[str, Manifest] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As a person names it: the run, and the round."""
        return f"{self.run.name}:{self.round}"

    @property
    def round(self) -> int:
        """Number of the round."""
        return int(self.decision.inputs["round"])

    @property
    def evaluation_uri(self) -> str:
        """URI of the evaluation."""
        return str(self.decision.inputs["scores"])

    @cached_property
    def figures(self) -> Mapping[str, Any]:
        """Metrics of the evaluation by corpus, and those of replies under ``expression``."""
        found: Mapping[str, Any] = json.loads(
            (self.context.store.fetch(self.evaluation_uri) / "metrics.json").read_text()
        )
        return found

    @cached_property
    def predictions(self) -> list[Prediction]:
        """What it predicted on held-out turns."""
        return predictions(self.context.store, self.evaluation_uri)

    @cached_property
    def spaces(self) -> dict[str, LabelSpace]:
        """Label spaces that it was scored with."""
        return labels_of(self.context.store, self.evaluation_uri)

    @cached_property
    def prepared(self) -> tuple[str, Manifest | None]:
        """URI and manifest of the data that it learnt from and was scored on."""
        made = self.context.store.manifest(self.evaluation_uri)
        uri = str(made.inputs.get("prepared", "")) if made else ""
        return uri, self.context.store.manifest(uri) if uri else None


def side(context: Context, named: str) -> Side:
    """The policy that a run came to, or that of one of its rounds.

    Args:
        context: Of registry and store; its run's name does not matter.
        named: ``RUN`` is the policy that its gate left champion, ``RUN:N`` that of round N.

    Raises:
        UserError: If there is no such run, it lies in another store, or the round is not decided; says which there are.
    """
    name, _, number = named.partition(":")
    run = find(context, name)
    if elsewhere := run.elsewhere(context):
        fix = f"give a configuration with store.root: {elsewhere}"
        raise UserError(f"run {name} lies in another store than {context.store.root}", where=elsewhere, fix=fix)
    decided = run.decided(context)
    if not decided:
        gone = "its decisions are not in the store any more" if run.decisions else "none of its rounds is decided yet"
        raise UserError(gone, where=f"run {name}", fix="see what became of it: selfemo runs")
    if not number:
        best = best_of(decided)
        assert best is not None  # something is decided
        return Side(run, context, best, behind(context, best))
    rounds = {str(decision.inputs["round"]): decision for decision in decided}
    if number not in rounds:
        raise UserError(f"round {number!r} is none", where=f"run {name}", fix=f"decided are {', '.join(rounds)}")
    return Side(run, context, rounds[number], behind(context, rounds[number]))


def behind(context: Context, decision: Manifest) -> dict[str, Manifest]:
    """Manifests of all that a round's scores were made from, by URI; what was cleaned up meanwhile is left out.

    Args:
        context: Of the store.
        decision: Of the round. What only it was given, the champion before, is not followed.
    """
    found: dict[str, Manifest] = {}
    waiting = [str(decision.inputs["scores"]), str(decision.inputs["challenger"])]
    while waiting:
        uri = waiting.pop()
        if uri in found or not here(context, uri):
            continue
        manifest = context.store.manifest(uri)
        if manifest is not None:
            found[uri] = manifest
            waiting += [str(value) for value in manifest.inputs.values()]
    return found
