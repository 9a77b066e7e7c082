"""What came back from what is served, into the data of a run. Defined here.

Conversations join what self-play starts from. Corrected ones are gold: part of them is learnt from, beside the labelled
few of the corpora, and part is held out, for the gate. Which part a conversation is in follows from its id and the seed
from the first day, corrected or not: what is held out was never learnt from, in no cycle before, not even without its
labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfemo.data.corpora import Corpora, leakage
from selfemo.data.corrections import Correction, corrected
from selfemo.data.dialogue import Dialogue
from selfemo.data.divide import Division
from selfemo.data.labels import Spaces
from selfemo.data.seeds import seed_of


@dataclass(frozen=True)
class Joined:
    """The data of a run with what came back.

    Attributes:
        training: What self-play starts from, the labelled ones among them.
        warmup: Ids of the labelled dialogues that are learnt from.
        held_out: Corrected conversations that nobody learns from.
        used: The corrections that are gold in either.
        unused: The others, each with the reason.
        leaked: Utterances removed from training, since they are copies of what is held out, here or in the corpora.
        joined: Conversations that came to training.
    """

    training: list[Dialogue]
    warmup: list[str]
    held_out: list[Dialogue]
    used: list[Correction]
    unused: list[tuple[Correction, str]]
    leaked: int
    joined: int


def is_held_out(dialogue: str, share: float, seed: int) -> bool:
    """Whether a conversation is one that is never learnt from.

    Args:
        dialogue: Its id.
        share: Of such conversations.
        seed: The same for all cycles.
    """
    # The word is part of the draw: with another one, other conversations would be held out.
    return seed_of(seed, "judges", dialogue) < share * 2**63


def join(
    divided: Division,
    corpora: Corpora,
    conversations: Sequence[Dialogue],
    corrections: Sequence[Correction],
    spaces: Spaces,
    *,
    share: float,
    seed: int,
) -> Joined:
    """Put what came back where it belongs.

    Corrections of a corpus's dialogues count where the run may learn from them; of one that the warm-up has not drawn,
    only what was corrected is gold. What is held out of the corpora stays as it is: it is what cycles are compared by.

    Args:
        divided: The corpora's dialogues.
        corpora: They.
        conversations: Collected ones.
        corrections: Of either.
        spaces: Labels by corpus.
        share: Of conversations that are held out.
        seed: Of which ones.
    """
    whole, known = {d.id: d for d in corpora.whole}, set(divided.warmup)
    scored = [*divided.held_out, *corpora.apart]
    fixed = {d.id for d in scored}
    about = {row.dialogue for row in corrections}
    mine = [whole[i] if i in known else whole[i].hidden() for i in sorted(about) if i in whole and i not in fixed]
    came = [d for d in conversations if d.id not in whole and d.id not in fixed]
    made = corrected([*mine, *came], corrections, spaces)
    unused = [(row, "the dialogue is held out" if row.dialogue in fixed else why) for row, why in made.unused]
    gold = {row.dialogue for row in made.used}
    apart = {d.id for d in came if is_held_out(d.id, share, seed)}

    new = {d.id: d for d in made.dialogues if d.id not in apart}
    fresh, copies = leakage.remove(list(new.values()), scored)
    cleaned = {d.id: d for d in fresh}
    kept = [cleaned.pop(d.id) if d.id in cleaned else d for d in divided.training if d.id in cleaned or d.id not in new]
    kept += cleaned.values()
    training, more = leakage.remove(kept, [d for d in made.dialogues if d.id in apart])
    labelled = {d.id for d in training if any(turn.gold for turn in d.turns)}
    order = {corpus: place for place, corpus in enumerate(spaces)}
    held_out = [d for d in made.dialogues if d.id in apart & gold]
    return Joined(
        training,
        sorted((known | gold) & labelled),
        sorted(held_out, key=lambda d: (order[d.corpus], d.id)),
        made.used,
        unused,
        copies + more,
        sum(d.id not in whole for d in training),
    )
