"""What differed between two runs besides what came out: settings, data, code, machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from selfemo.config import Config
from selfemo.runs.compare import OnCorpus, on_each_corpus
from selfemo.runs.sides import Side
from selfemo.store.artifacts import Manifest

COUNTS = (
    "training_dialogues",
    "warmup_dialogues",
    "held_out_dialogues",
    "leaked_utterances",
    "selection_copies",
    "quarantined_rows",
    "joined_conversations",
    "corrected_turns",
)
"""Of a record of prepared data."""
ABSENT = "-"
"""Stands for a setting or a figure that one of the two does not have."""
UNRECORDED = "not recorded"
"""Stands for the machine of a step that did not write it down."""


@dataclass(frozen=True)
class Difference:
    """Something that the two have differently, as text."""

    what: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """Two policies, where each is better, and what differed.

    Attributes:
        first, second: Run and round of each.
        corpora: The first's gate corpus first.
        settings: Those of the runs' last attempts, by ``section.key``.
        data: Of the prepared data, its hash first; empty if it is the same.
        code: The version that each run last began with, and by step the hash of what its result depends on in the
            code, or where that was not recorded the version that made it.
        machines: By step.
        machine: All that either was made on, in words; says where that was not recorded.
    """

    first: str
    second: str
    corpora: tuple[OnCorpus, ...]
    settings: tuple[Difference, ...]
    data: tuple[Difference, ...]
    code: tuple[Difference, ...]
    machines: tuple[Difference, ...]
    machine: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data, with what becomes of each changed turn and which is better on each corpus."""
        told = asdict(self)
        for row, corpus in zip(told["corpora"], self.corpora, strict=True):
            row["better"] = corpus.better
            for turn, changed in zip(row["changed"], corpus.changed, strict=True):
                turn["became"] = changed.became
        return told


def compare(first: Side, second: Side, config: Config) -> Comparison:
    """Compare two policies.

    Args:
        first: A policy.
        second: Another, or the same.
        config: Section ``evaluation``, and the seed, of the resamples.
    """
    return Comparison(
        first.name,
        second.name,
        tuple(on_each_corpus(first, second, config)),
        tuple(_differing(first.run.settings, second.run.settings, without=("run",))),
        tuple(_differing(_data(first), _data(second))),
        (
            *_differing({"version": first.run.code}, {"version": second.run.code}),
            *_differing(*_by_step(first, second, _code)),
        ),
        tuple(_differing(*_by_step(first, second, _machine))),
        "; ".join(sorted({_machine(m) for side in (first, second) for m in side.behind.values()})),
    )


def _differing(
    first: Mapping[str, str], second: Mapping[str, str], without: tuple[str, ...] = ()
) -> Iterator[Difference]:
    for key in dict.fromkeys((*first, *second)):
        ours, theirs = first.get(key, ABSENT), second.get(key, ABSENT)
        if ours != theirs and key not in without:
            yield Difference(key, ours, theirs)


def _data(side: Side) -> dict[str, str]:
    uri, manifest = side.prepared
    if manifest is None:
        return {"data": f"{uri} is not there any more" if uri else "not known"}
    counts = {key.replace("_", " "): str(manifest.result[key]) for key in COUNTS if key in manifest.result}
    inputs = {"dialogues of the corpora": "content", "labels": "labels", "feedback": "feedback"}
    made_of = {name: str(manifest.inputs[key])[:12] for name, key in inputs.items() if key in manifest.inputs}
    return {"data": manifest.digest[:12], **made_of, **counts}


def _by_step(first: Side, second: Side, told: Callable[[Manifest], str]) -> tuple[dict[str, str], dict[str, str]]:
    """What is shown of the steps that stand behind both; where several of a kind differ, one after the other."""
    found: list[dict[str, set[str]]] = []
    for side in (first, second):
        steps: dict[str, set[str]] = {}
        for manifest in reversed(list(side.behind.values())):
            steps.setdefault(manifest.step, set()).add(told(manifest))
        found.append(steps)
    both = [step for step in found[0] if step in found[1]]
    ours, theirs = ({step: "; ".join(sorted(steps[step])) for step in both} for steps in found)
    return ours, theirs


def _code(manifest: Manifest) -> str:
    return str(manifest.result.get("fingerprint") or f"of version {manifest.code}")


def _machine(manifest: Manifest) -> str:
    return str(manifest.result.get("machine", UNRECORDED))
