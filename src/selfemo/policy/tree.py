"""Which prompts share which tokens: the trunk is computed once, each prompt adds its branch.

All turns of a dialogue make one trunk (its longest history); each turn's question branches off where its
history ends. Defined here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

TokenIds = Sequence[int]


@dataclass
class Trunk:
    """Tokens shared by some prompts.

    Attributes:
        ids: The longest member; its tail may be a branch of that member alone.
        members: ``(index of the prompt, how many tokens it shares with ids)``.
    """

    ids: TokenIds
    members: list[tuple[int, int]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens worth computing once: the most that any member shares."""
        return max(shared for _, shared in self.members)


def common_prefix(a: TokenIds, b: TokenIds) -> int:
    """Length of the longest common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def plan(prompts: Sequence[TokenIds], least: float = 0.5) -> list[Trunk]:
    """Group prompts by what they share.

    Args:
        prompts: Each non-empty.
        least: A prompt joins a trunk if it shares at least this part of its own length with it.

    Returns:
        Trunks in the order of their first prompt; every prompt is in exactly one, and keeps at least its
        last token as a branch, since the branch is where the next token is read off.
    """
    trunks: list[Trunk] = []
    longest_first = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    by_prompt: dict[int, Trunk] = {}
    recent: list[Trunk] = []
    # Longest first makes every trunk the longest of its members; prompts of a dialogue find theirs by content.
    for index in longest_first:
        ids = prompts[index]
        best, best_shared = None, 0
        for trunk in recent:
            shared = common_prefix(ids, trunk.ids)
            if shared > best_shared:
                best, best_shared = trunk, shared
        if best is None or best_shared < least * len(ids):
            best, best_shared = Trunk(ids), len(ids)
            recent.append(best)
        best.members.append((index, min(best_shared, len(ids) - 1)))
        by_prompt[index] = best
    for index in range(len(prompts)):
        trunk = by_prompt[index]
        if not any(trunk is t for t in trunks):
            trunk.members.sort()
            trunks.append(trunk)
    return trunks
