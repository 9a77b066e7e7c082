"""What MLflow's pages say in words: notes of the experiment and of runs, descriptions of the model and its versions.

Figures, fixed words and names; what a model, a corpus or a person wrote in them is escaped. Only people read
them: where a server refuses one, the log says so, and nothing else fails. Notes that somebody has changed by hand stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from selfemo.registry.card import sections
from selfemo.registry.client import NOTE, Registry
from selfemo.registry.markdown import code, escaped, spaced, table
from selfemo.registry.rounds import HEADERS, RoundFate, RoundRow, cells, fate
from selfemo.registry.status import address, aliases, kindly, status
from selfemo.registry.surroundings import Surroundings
from selfemo.store.artifacts import Manifest

WRITTEN = "selfemo.note"
"""Tag of a run: the hash of the note that we wrote last; any other note is somebody's own."""
MOST = 5_000
"""Characters of a description that MLflow keeps of a model and a version."""
LEFT_OUT = ("expression own", "judge", "seconds")
"""Columns of the table of rounds that MLflow's pages have no room for; its charts have them."""
ORDER = ("Gate", "Where it comes from", "Data", "Limits", "Licence", "Figures on held-out dialogues", "Rounds")
WHOLE = "The whole card is `README.md` next to the weights, and `card.md` among the artifacts of the round's run."


def run_note(registry: Registry, rows: Sequence[RoundRow]) -> str:
    """The note of a pipeline's run: its rounds so far, what the gate made of them, and where to look.

    Args:
        registry: Of the run.
        rows: Of its rounds, in order.
    """
    made = [row for row in rows if fate(row) is RoundFate.PROMOTED]
    best = f"Round {made[-1].round} became champion: weighted F1 {cells(made[-1])[5]}." if made else "No champion yet."
    stopped = [f"Round {row.round} was stopped: {escaped(row.stopped)}." for row in rows if row.stopped]
    parts = [
        f"Base {code(registry.config.policy.base)}, gate corpus {code(registry.config.corpora[0].name)}. {best} "
        f"Every policy: [{escaped(registry.model)}]({address(registry.model)}).",
        _rounds(registry, rows),
        *stopped,
        "**Model metrics** above has a chart for each measure over the rounds (`round/`: weighted_f1, mean_reward, "
        "accepted). Each round has a run of its own, a child of this one: `train/` over optimizer steps, `filter/` and "
        "`eval/`. **Artifacts** has `report.html`, the whole run on one page.",
    ]
    return "\n\n".join(parts)


def round_note(registry: Registry, row: RoundRow, reason: str, version: str) -> str:
    """The note of a round's run: what the gate said, and which version it made.

    Args:
        registry: Of the run.
        row: Of the round.
        reason: What the gate, or the guard, said.
        version: Of the model; empty if the round made none.
    """
    made = f"It made [version {version}]({address(registry.model, version)})." if version else "It made no version."
    return "\n\n".join(
        [
            f"Round {row.round} of {_link(escaped(registry.config.run), registry.page(registry.parent))}: "
            f"**{fate(row)}**: {escaped(reason)}. {made}",
            _rounds(registry, [row]),
        ]
    )


def _rounds(registry: Registry, rows: Sequence[RoundRow]) -> str:
    """The table of rounds, as much of it as MLflow's pages are wide, each with its own page."""
    shown = [column for column, name in enumerate(HEADERS) if name not in LEFT_OUT]
    lines = [[cells(row)[column].replace(" ", "&nbsp;") for column in shown] for row in rows]
    linked = [[_run(registry, row.round, line[0]), *line[1:]] for row, line in zip(rows, lines, strict=True)]
    return spaced(table([HEADERS[column] for column in shown], linked))


def write_note(registry: Registry, run: str, text: str) -> None:
    """Give a run its note, unless somebody has given it another."""

    def write() -> None:
        tags = registry.client.get_run(run).data.tags
        note = tags.get(NOTE, "")
        if note in ("", text) or tags.get(WRITTEN) == _hash(note):
            registry.tags(run, {NOTE: text, WRITTEN: _hash(text)})

    kindly(write, "the note of a run")


def version_page(context: Surroundings, decision: Manifest, version: Any, weights: str, digest: str) -> str:
    """A version's description: what became of it, the gate, lineage, and as much of the card as fits.

    Args:
        context: Of the run.
        decision: Manifest of the round's decision.
        version: Of the model, with its tags.
        weights: URI of its weights.
        digest: Of their files.
    """
    registry = context.registry
    row = RoundRow.from_dict(decision.result["row"])
    card = {title: spaced(part) for title, part in sections(context, decision, weights, digest).items()}
    from_run = f"{_run(registry, row.round, f'round {row.round}')} of "
    from_run += _link(escaped(context.config.run), registry.page(registry.parent))
    text = "\n\n".join(
        [
            status(version, *aliases(registry)),
            f"Made by {from_run}, from {code(context.config.policy.base)}: weighted F1 {cells(row)[5]}, "
            f"accuracy {row.accuracy:.3f}. {WHOLE}",
        ]
    )
    for title in (
        "Gate",
        "Where it comes from",
        "Data",
        "Limits",
        "Licence",
        "Figures on held-out dialogues",
        "Rounds",
    ):
        part = f"\n\n### {title}\n\n{card[title]}"
        if len(text) + len(part) <= MOST:  # whole sections alone: half a table is none
            text += part
    return text


def _run(registry: Registry, number: int, words: str) -> str:
    return _link(words, registry.page(registry.round(number)))


def _link(words: str, page: str) -> str:
    return f"[{words}]({page})"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
