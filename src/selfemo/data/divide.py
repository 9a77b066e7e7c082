"""Who is learnt from and who is scored: the labelled dialogues of the warm-up, those kept for selection, and the rest.

Nothing that is scored is learnt from: not its dialogues, and no copy of its turns elsewhere. Defined here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfemo.data.corpora import leakage
from selfemo.data.dialogue import Dialogue
from selfemo.data.seeds import seed_of
from selfemo.errors import UserError

LEAST_DIALOGUES = 8
"""Of each corpus that is scored, for the gate to decide on. One-sided at 2.5 % an exact test over dialogues can say yes
from 6 on (2^-6 = 0.016), but to nothing short of a gain in all six; from 8 on one of them may lose. What it finds with
how many, and how often it errs: `benchmarks/gate.py`, docs/method.md."""


def gate_is_open(min_gain: float) -> bool:
    """Whether the gate has no test: for runs whose every policy is looked at, such as a study's.

    Here and not among the settings, whose code no address holds: what is prepared and what is decided depend on it.

    Args:
        min_gain: Of section ``gate``.
    """
    return min_gain == -1


@dataclass(frozen=True)
class Division:
    """The dialogues of a run.

    Attributes:
        training: What self-play starts from, the warm-up's among them.
        warmup: Ids of the labelled dialogues that the warm-up learns from.
        held_out: What rounds are scored and gated on, the gate corpus first.
        copies: Utterances removed from training, since one that is kept for selection has the same words.
    """

    training: list[Dialogue]
    warmup: list[str]
    held_out: list[Dialogue]
    copies: int


def shares(total: int, sizes: Mapping[str, int], least: int = 0) -> dict[str, int]:
    """Deal a number out in proportion to sizes, at least so many to each, by largest remainders.

    Args:
        total: To deal out; as much of it as there is.
        sizes: By name; none gets more than it has.
        least: For each, as far as it has them.
    """
    given = {name: min(least, size) for name, size in sizes.items()}
    whole = sum(sizes.values())
    while sum(given.values()) < min(total, whole):
        behind = {n: total * sizes[n] / whole - given[n] for n in sizes if given[n] < sizes[n]}
        given[max(behind, key=lambda n: behind[n])] += 1
    return given


def divide(
    training: Sequence[Dialogue],
    held_out: Sequence[Dialogue],
    *,
    labelled: int,
    selection: int,
    least: int,
    seed: int,
) -> Division:
    """Draw the labelled dialogues from each corpus in proportion, and set those for selection apart.

    Args:
        training: All train splits.
        held_out: The evaluation splits; they are what is scored, unless there is a selection.
        labelled: How many dialogues are labelled, over all corpora.
        selection: How many of these are kept for selection.
        least: Dialogues of each corpus that a selection needs.
        seed: Of the draw.

    Raises:
        UserError: If the selection is too small, or nothing is left to learn from.
    """
    by_corpus: dict[str, list[Dialogue]] = {}
    for dialogue in training:
        by_corpus.setdefault(dialogue.corpus, [])
        if any(turn.gold for turn in dialogue.turns):
            by_corpus[dialogue.corpus].append(dialogue)
    ordered = {c: sorted(d, key=lambda d: seed_of(seed, "warm-up", d.id)) for c, d in by_corpus.items()}
    fewest = 0 if not labelled else least + 1 if selection else 1  # one at least to learn from, of each corpus
    counts = shares(labelled, {c: len(d) for c, d in ordered.items()}, fewest)
    drawn = {c: ordered[c][:n] for c, n in counts.items()}
    kept = shares(selection, {c: len(d) for c, d in drawn.items()}, least) if selection else dict.fromkeys(drawn, 0)
    few = [c for c in drawn if selection and kept[c] < least]
    if few or sum(kept.values()) > selection:
        raise UserError(
            f"{selection} dialogues are too few to decide on: {least} of each of {', '.join(drawn)} are needed"
            + (f", and {few[0]} has {len(ordered[few[0]])} that are labelled" if few else ""),
            where="warmup.selection",
            fix=f"set warmup.selection to {least * len(drawn)} or more, and warmup.dialogues beyond it",
        )
    if sum(counts.values()) > labelled:
        raise UserError(
            f"{labelled} labelled dialogues are too few: one of each of {', '.join(drawn)} is needed to learn from"
            + (f", besides {selection} for selection" if selection else ""),
            where="warmup.dialogues",
            fix=f"set it to {sum(counts.values())} or more, or to 0 for a base that is warmed up already",
        )
    chosen = [d for c, n in kept.items() for d in drawn[c][:n]]
    apart = {d.id for d in chosen}
    pool, copies = leakage.remove([d for d in training if d.id not in apart], chosen)
    places = {corpus: place for place, corpus in enumerate(by_corpus)}
    scored = sorted(chosen, key=lambda d: (places[d.corpus], d.id)) or list(held_out)
    left = {d.id for d in pool if any(turn.gold for turn in d.turns)}
    # A dialogue that is nothing but copies is not learnt from: the next of its corpus takes its place.
    usable = {c: [d.id for d in ordered[c][n:] if d.id in left] for c, n in kept.items()}
    warmup = sorted(i for c, ids in usable.items() for i in ids[: counts[c] - kept[c]])
    if not pool:
        raise UserError("no training dialogues are left", where="corpora", fix="every one of them is held out")
    if labelled and not warmup:
        raise UserError(
            f"the corpora have {sum(map(len, ordered.values()))} labelled dialogues, and none is left to learn from",
            where="warmup.dialogues",
            fix="lower warmup.selection, or set warmup.dialogues=0 for a base that is warmed up already",
        )
    lost = [c for c, ids in usable.items() if labelled and not ids]
    if lost:
        raise UserError(
            f"no labelled dialogue of {lost[0]} is left to learn from",
            where="warmup.dialogues",
            fix="leave the corpus out, or lower warmup.selection",
        )
    return Division(pool, warmup, scored, copies)
