"""The loop as a picture with a round's numbers on it, and where each policy and sample comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfemo.registry.rounds import RoundFate, RoundRow, fate
from selfemo.report.evidence import Round
from selfemo.report.figure import number


@dataclass(frozen=True)
class LoopStage:
    """One station of the loop.

    Attributes:
        name: Of the step.
        what: Its most telling number.
        more: The rest, a line each.
    """

    name: str
    what: str
    more: tuple[str, ...] = ()


def outcome(row: RoundRow) -> str:
    """What became of a round, in a word or two."""
    found = fate(row)
    return "not promoted" if found is RoundFate.KEPT else found


def stages(round: Round, trained_by: Mapping[str, int]) -> list[LoopStage]:
    """The stations of a round, in the order in which they are passed.

    Args:
        round: The round.
        trained_by: Number of the round that trained a policy, by its URI.
    """
    row, result = round.row, round.after.metrics
    gate_corpus = round.after.corpora[0]
    values = result[gate_corpus]
    low, high = row.weighted_f1_interval
    judged = LoopStage(
        "evaluate",
        f"weighted F1 {row.weighted_f1:.3f}",
        (
            f"95 %: {low:.3f} to {high:.3f}",
            f"{values['turns']} held-out turns of {values['dialogues']} dialogues",
            *([f"replies read back: {number(row.expression_own, 2)}"] if row.expression_own is not None else []),
        ),
    )
    gain = round.decision.gains.get(gate_corpus)
    seen = (f"gain {gain.gain:+.3f}", f"p {gain.p:.4f}, one-sided") if gain else (round.decision.reason,)
    decided = LoopStage("gate", outcome(row), seen)
    learnt = round.challenger.result if round.challenger else {}
    steps = f"{learnt['steps']} step{'s' if learnt['steps'] != 1 else ''}" if "steps" in learnt else "-"
    if round.kept is None:
        labelled = round.prepared.get("warmup_dialogues", learnt.get("dialogues", "-"))
        start = LoopStage("base policy", "as it comes", ())
        return [start, LoopStage("warm-up", f"{labelled} labelled dialogues", (steps,)), judged, decided]
    metrics = round.kept.told["metrics"]
    rollouts = round.kept.rollouts
    replies = sum(len(r.candidates) for r in rollouts)
    episodes = len({r.episode for r in rollouts if r.episode})
    turns = sum(r.task == "understanding" for r in rollouts)
    candidates, accepted = int(metrics["candidates"]), int(metrics["accepted"])
    played = str(round.made.inputs.get("champion", ""))
    by = trained_by.get(played)
    return [
        LoopStage(
            "policy", "champion", (f"trained in round {by}" if by is not None else "/".join(played.split("/")[-3:]),)
        ),
        LoopStage(
            "self-play",
            f"{candidates} candidates",
            (f"{turns} corpus turns read", f"{replies} replies in {episodes} episode{'s' if episodes != 1 else ''}"),
        ),
        LoopStage(
            "filter",
            f"{accepted} kept",
            (
                f"{candidates - accepted} rejected",
                f"{int(metrics['samples'])} training samples",
                f"mean reward {metrics['mean_reward']:.3f}",
            ),
        ),
        LoopStage("train", steps, ("SELF-GRPO",) if not row.stopped else ("stopped by the collapse guard",)),
        judged,
        decided,
    ]


LINEAGE = ("round", "policy", "digest", "trained from", "on samples", "of rollouts", "code", "version", "became")
"""Columns of :func:`lineage`."""


def lineage(
    rounds: Sequence[Round], root: str, versions: Mapping[int, str], digests: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Where each round's policy comes from, a row a round, in the order of :data:`LINEAGE`.

    Args:
        rounds: Decided ones.
        root: Of the store: what lies there is named from there.
        versions: Numbers in the registry by round, of those that were registered.
        digests: Of policies' files, by URI.
    """
    return [
        (
            str(r.number),
            within(r.policy, root),
            digests.get(r.policy, "")[:12] or "-",
            within(str(r.made.inputs.get("champion", "")), root) or "the base policy",
            within(r.kept.uri, root) if r.kept else "-",
            within(r.kept.rollouts_uri, root) if r.kept else "-",
            r.made.code,
            versions.get(r.number, "-"),
            outcome(r.row),
        )
        for r in rounds
    ]


def within(uri: str, root: str) -> str:
    """A place in the store as seen from its root."""
    return uri.removeprefix(f"{root}/")


def origins(rounds: Sequence[Round], root: str, trained_by: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """What the browser of conversations says of where a round's samples come from and go to, by the round's number."""
    found = {}
    for r in rounds:
        if r.kept is None:
            continue
        played = str(r.made.inputs.get("champion", ""))
        found[str(r.number)] = {
            "played": within(played, root),
            "playedBy": trained_by.get(played),
            "rollouts": within(r.kept.rollouts_uri, root),
            "samples": within(r.kept.uri, root),
            "trained": within(r.policy, root),
            "became": outcome(r.row),
        }
    return found
