"""Which dialogues are learnt from and which are held out: as stated, or drawn by dialogue and by group of speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from selfemo.data.intake.staging import StagedDialogue
from selfemo.data.seeds import seed_of
from selfemo.errors import UserError

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Shares:
    """Parts of the dialogues: of train, dev and test, in hundredths or any proportion."""

    train: float
    dev: float
    test: float

    @classmethod
    def parse(cls, text: str) -> Shares:
        """From ``80,10,10``.

        Raises:
            UserError: If it is not three numbers of 0 or more with something for train.
        """
        try:
            train, dev, test = (float(part) for part in text.split(","))
            if min(train, dev, test) < 0 or not 0 < train <= train + dev + test < float("inf"):
                raise ValueError
        except ValueError:
            raise UserError(
                f"{text[:40]!r} is not three shares", where="--shares", fix="write train,dev,test such as 80,10,10"
            ) from None
        return cls(train, dev, test)


def stated(known: Sequence[StagedDialogue]) -> bool:
    """Whether the source says who is held out: it names more than one split."""
    return len({split for dialogue in known for split in dialogue.splits}) > 1


def assign(known: Sequence[StagedDialogue], shares: Shares | None, seed: int, where: str) -> list[str]:
    """A split for each dialogue.

    Args:
        known: The dialogues.
        shares: To draw by; None keeps the splits that the source states.
        seed: Of the draw.
        where: The source, for errors.

    Raises:
        UserError: If stated splits cut a dialogue or a group in two, or are missing for some.
    """
    if shares is not None:
        return _drawn(known, shares, seed)
    found: list[str] = []
    side: dict[str, tuple[str, str]] = {}
    fix = "correct the split, or give --shares 80,10,10 to draw splits anew"
    for dialogue in known:
        if len(dialogue.splits) != 1:
            what = " and ".join(sorted(dialogue.splits)) or "no split"
            raise UserError(f"dialogue {dialogue.name[:60]!r} is of {what}", where=where, fix=fix)
        (split,) = dialogue.splits
        for group in dialogue.groups:
            other, name = side.setdefault(group, (split, dialogue.name))
            if (other == "train") != (split == "train"):
                raise UserError(
                    f"group {group[:60]!r} is on both sides: dialogue {name[:60]!r} is of {other}, "
                    f"{dialogue.name[:60]!r} of {split}",
                    where=where,
                    fix=fix,
                )
        found.append(split)
    return found


def _drawn(known: Sequence[StagedDialogue], shares: Shares, seed: int) -> list[str]:
    """Whole components of dialogues that share a group, in an order drawn by seed, to whatever is furthest behind."""
    roots = _components(known)
    sizes = Counter(roots)
    share = {"train": shares.train, "dev": shares.dev, "test": shares.test}
    whole, total = sum(share.values()), len(known)
    wanted = {s: part * total / whole for s, part in share.items() if part}
    few = [s for s in wanted if wanted[s] < 1]
    if few and len(sizes) >= len(wanted):  # one dialogue at least, of as many as there are
        wanted["train"] -= sum(1 - wanted[s] for s in few if s != "train")
        wanted |= dict.fromkeys(few, 1.0)
    least: dict[int, int] = {}  # of a component, the dialogue whose id comes first: its draw is the component's
    for index, root in enumerate(roots):
        if sizes[root] > 1:
            least[root] = min(least.get(root, index), index, key=lambda i: (known[i].apart, known[i].name))

    def drawn(root: int) -> tuple[int, int]:
        dialogue = known[least.get(root, root)]
        return -sizes[root], seed_of(seed, "split", dialogue.apart, dialogue.name)

    given = dict.fromkeys(share, 0)
    of: dict[int, str] = {}
    # Large components first: a small one can still even out what they left.
    for root in sorted(sizes, key=drawn):
        split = max(wanted, key=lambda s: wanted[s] - given[s])
        given[split] += sizes[root]
        of[root] = split
    return [of[root] for root in roots]


def _components(known: Sequence[StagedDialogue]) -> list[int]:
    """For each dialogue, the number of one that stands for all that are tied to it by groups (union-find)."""
    roots = list(range(len(known)))

    def root(index: int) -> int:
        while roots[index] != index:
            roots[index] = roots[roots[index]]
            index = roots[index]
        return index

    first: dict[str, int] = {}
    for index, dialogue in enumerate(known):
        for group in dialogue.groups:
            roots[root(index)] = root(first.setdefault(group, index))
    return [root(index) for index in range(len(known))]
