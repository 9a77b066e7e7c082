"""The champion of a registered model: promoted through the gate, or rolled back; ``registry.moves`` has how."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from selfemo.errors import GateClosed, UserError
from selfemo.registry.mlflow_client import quoted
from selfemo.registry.moves import Move, MoveKind, Moves, kept, now
from selfemo.registry.rounds import RoundFate
from selfemo.registry.versions import CHAMPION, ENDED, STARTED, Versions
from selfemo.store.lock import Lease, who

log = logging.getLogger(__name__)

PROMOTED, ROLLED_BACK, PREVIOUS = "selfemo.promoted_at", "selfemo.rolled_back", "selfemo.previous_champion"
MOVE = "selfemo.promotion_number"
RECORD = "selfemo.champion_move"


def through(number: str, *, passed: bool, reason: str, force: bool) -> None:
    """Let a version through the gate, or against it where that is said.

    Raises:
        GateClosed: If the gate did not pass and ``force`` is not given.
    """
    if not passed and not force:
        raise GateClosed(
            f"version {number} is not promoted: {reason}",
            where="gate",
            fix="train a better challenger, or use --force --reason WHY",
        )


class Champion:
    """The champion of a registered model; every method is called under the lock.

    Args:
        versions: Of the model.
    """

    def __init__(self, versions: Versions) -> None:
        self.versions, self.client, self.model = versions, versions.client, versions.model
        self.moves = Moves(versions, CHAMPION, RECORD)

    def promote(
        self,
        number: str,
        *,
        passed: bool,
        reason: str,
        force: bool = False,
        evidence: str = "",
        lease: Lease | None = None,
    ) -> str | None:
        """Make a version champion, through the gate only.

        Args:
            number: The version.
            passed: What the gate said.
            reason: Why: the gate's words, or a person's with ``force``.
            force: Promote against the gate; kept as a tag.
            evidence: What the gate saw, as JSON; kept as a tag.
            lease: Of the lock.

        Returns:
            The version that was champion before, or None.

        Raises:
            GateClosed: If the gate did not pass and ``force`` is not given.
        """
        through(number, passed=passed, reason=reason, force=force)
        self.recover(lease)
        version, current = self.versions.get(number), self.versions.alias(CHAMPION)
        before, number = "" if current is None else str(current.version), str(version.version)
        if before == number:
            return before
        told = {
            MOVE: str(self.moves.next()),  # two may fall into one second
            "selfemo.promoted_by": who(),
            "selfemo.promotion_reason": kept(reason),
            "selfemo.promotion_evidence": evidence,
            "selfemo.promotion_forced": str(force).lower(),
            PREVIOUS: before,
        }
        if version.tags.get(ROLLED_BACK):
            told[ROLLED_BACK] = ""  # somebody changed their mind
        told[PROMOTED] = now()  # the last: whoever reads it can rely on the others, and on the alias
        self.moves.make(MoveKind.PROMOTION, before, number, reason, told, lease)
        log.info("version %s of %s is champion: %s", number, self.model, reason)
        return before or None

    def rollback(self, reason: str, lease: Lease | None = None) -> tuple[str, str]:
        """Make the champion before champion again; the version that was champion, and the one that is now.

        That is the last version that was promoted before, is still there, and was not rolled back itself: also where
        somebody has moved the alias by hand, or deleted the champion or those before it.

        The same command again, after one that was cut off or whose outcome got lost, goes back no further: it is
        known by its reason.

        Raises:
            UserError: If there is no earlier champion that was not rolled back itself.
        """
        last, finished = self.recover(lease)
        current = self.versions.alias(CHAMPION)
        again = last is not None and last.kind is MoveKind.ROLLBACK and (finished or last.reason == kept(reason))
        if last is not None and again and current is not None and str(current.version) == last.after:
            log.info("version %s was rolled back already; another reason goes back further", last.before)
            return last.before, last.after
        earlier = self._earlier(current, last)
        if earlier is None:
            raise UserError(
                "there is no earlier champion to go back to",
                where=f"models:/{self.model}@{CHAMPION}",
                fix="promote a version: selfemo promote --version N --force --reason WHY",
            )
        was = str(current.version) if current is not None else "" if last is None else last.after
        self.moves.make(MoveKind.ROLLBACK, was, earlier, reason, {ROLLED_BACK: f"by {who()}: {kept(reason)}"}, lease)
        return was, earlier

    def recover(self, lease: Lease | None = None) -> tuple[Move | None, bool]:
        """Finish the move of a holder that was cut off: see :meth:`Moves.recover`."""
        return self.moves.recover(lease)

    def gone(self) -> str:
        """The last champion, where there is none now: deleted, or its alias taken away; empty if there never was one.

        Raises:
            UserError: If the registry cannot be asked.
        """
        last = self.moves.last()
        if last is not None and last.done:
            return last.after
        history = self._history()
        return str(history[-1].version) if history else "" if last is None else last.before

    def became(self) -> dict[str, RoundFate]:
        """What was done with each version, by the URI of its weights: promoted, rolled back, canary, or kept."""
        found = self.client.search_model_versions(f"name={quoted(self.model)}")
        return {
            str(v.source): _fate(v.tags)
            for v in sorted(found, key=lambda v: -int(v.version))  # of several of one policy, the first is meant
        }

    def _history(self) -> list[Any]:
        """Versions that were promoted and are still there, in the order of their promotions."""
        found = self.client.search_model_versions(f"name={quoted(self.model)}")
        return sorted((v for v in found if v.tags.get(PROMOTED)), key=_when)

    def _earlier(self, current: Any | None, last: Move | None) -> str | None:
        """The champion before the current one: promoted, still there, and not rolled back."""
        history = self._history()
        good = {str(v.version): v for v in history if not v.tags.get(ROLLED_BACK)}
        if current is None:
            there = [n for n in good if last is None or n != last.after]
            return there[-1] if there else None
        number = str(current.version)
        good.pop(number, None)
        known = {str(v.version): v for v in history}
        seen, before = {number}, current.tags.get(PREVIOUS) if number in known else None
        while before in known and before not in seen:  # as it was written down
            if before in good:
                return str(before)
            seen.add(before)
            before = known[before].tags.get(PREVIOUS)
        if number in known:  # what was promoted before it: the chain ends, or leads over what is gone
            if not before:
                return None
            good = {n: v for n, v in good.items() if _when(v) < _when(known[number])}
        return list(good)[-1] if good else None


def _fate(tags: Mapping[str, str]) -> RoundFate:
    if tags.get(ROLLED_BACK):
        return RoundFate.ROLLED_BACK
    if tags.get(PROMOTED):
        return RoundFate.PROMOTED
    if tags.get(STARTED):
        return RoundFate.ROLLED_BACK if tags.get(ENDED) else RoundFate.CANARY
    return RoundFate.KEPT


def _when(version: Any) -> tuple[str, int]:
    number = version.tags.get(MOVE, "")
    return str(version.tags[PROMOTED]), int(number) if number.isdecimal() else 0
