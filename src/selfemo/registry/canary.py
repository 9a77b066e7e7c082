"""The canary of a registered model: a version that serves a share of the traffic before it may become champion.

The alias ``canary`` is the truth, as ``champion`` is, and moves the same way (:mod:`selfemo.registry.moves`).
"""

from __future__ import annotations

import logging
from typing import Any

from selfemo.errors import UserError
from selfemo.registry.champion import through
from selfemo.registry.moves import MoveKind, Moves, kept, now
from selfemo.registry.versions import CANARY, CHAMPION, ENDED, STARTED, Versions
from selfemo.store.lock import Lease, who

log = logging.getLogger(__name__)

RECORD = "selfemo.canary_move"
REASON, FORCED, EVIDENCE = "selfemo.canary_reason", "selfemo.canary_forced", "selfemo.canary_evidence"
AGAINST = "selfemo.canary_against"
"""Tag: the champion that the gate compared it with, and beside which it serves."""
ANSWERED = "selfemo.canary_answered_at"
"""Tag: when its server was first seen to answer; from then on it gets its share."""
ASKED = "selfemo.canary_asked"
"""Tag: in how many of how many conversations it disagreed with the champion, as JSON."""


class Canary:
    """The canary of a registered model; every method that changes something is called under the lock.

    Args:
        versions: Of the model.
    """

    def __init__(self, versions: Versions) -> None:
        self.versions, self.model = versions, versions.model
        self.moves = Moves(versions, CANARY, RECORD)

    def running(self) -> Any | None:
        """The version that is canary; None if none is, or it has become champion already."""
        found, champion = self.versions.alias(CANARY), self.versions.alias(CHAMPION)
        if found is None or (champion is not None and str(champion.version) == str(found.version)):
            return None
        return found

    def start(
        self,
        number: str,
        against: str,
        *,
        passed: bool,
        reason: str,
        force: bool = False,
        evidence: str = "",
        lease: Lease | None = None,
    ) -> None:
        """Make a version canary, through the gate only.

        Args:
            number: The version.
            against: The champion, beside which it is to serve.
            passed: What the gate said.
            reason: Why: the gate's words, or a person's with ``force``.
            force: Against the gate; kept as a tag.
            evidence: What the gate saw, as JSON; kept as a tag.
            lease: Of the lock.

        Raises:
            GateClosed: If the gate did not pass and ``force`` is not given.
            UserError: If another version is canary.
        """
        through(number, passed=passed, reason=reason, force=force)
        self.recover(lease)
        number, current = str(self.versions.get(number).version), self.moves.at()
        if current == number:
            return
        if current:
            raise UserError(
                f"version {current} is canary just now",
                where=f"models:/{self.model}@{CANARY}",
                fix="wait until it is decided, stop it (selfemo canary stop --reason WHY), or promote with --at-once",
            )
        self._make(number, against, {REASON: kept(reason), FORCED: str(force).lower(), EVIDENCE: evidence}, lease)
        log.info("version %s of %s is canary: %s", number, self.model, reason)

    def adopt(self, number: str, against: str, reason: str, lease: Lease | None = None) -> None:
        """Write down the record of a canary that a person made by moving the alias."""
        self._make(number, against, {REASON: kept(reason), FORCED: "false", EVIDENCE: ""}, lease)

    def _make(self, number: str, against: str, why: dict[str, str], lease: Lease | None) -> None:
        told = {"selfemo.canary_by": who(), **why, AGAINST: against, ANSWERED: "", ASKED: "", ENDED: "", STARTED: now()}
        self.moves.make(MoveKind.CANARY, "", number, why[REASON], told, lease)

    def end(self, reason: str, lease: Lease | None = None) -> None:
        """Take the alias away from the canary, if there is one, and write down why.

        Args:
            reason: Why: it became champion, or was stopped.
            lease: Of the lock.
        """
        if current := self.moves.at():
            self.moves.make(MoveKind.END, current, "", reason, {ENDED: f"{now()} by {who()}: {kept(reason)}"}, lease)
            log.info("version %s of %s is canary no more: %s", current, self.model, reason)

    def stop(self, reason: str, lease: Lease | None = None) -> str:
        """End the canary on somebody's word; the version that was canary.

        The same command again, after one whose outcome got lost, says the same: it is known by its reason.

        Raises:
            UserError: If there is no canary.
        """
        finished = self.recover(lease)
        current, last = self.moves.at(), self.moves.last()
        if current:
            self.end(reason, lease)
            return current
        if last is not None and last.kind is MoveKind.END and (finished or last.reason == kept(reason)):
            return last.before
        raise UserError("there is no canary", where=f"models:/{self.model}@{CANARY}", fix="nothing is to be stopped")

    def recover(self, lease: Lease | None = None) -> bool:
        """Finish what was cut off, and end a canary that has become champion, or whose champion is another by now.

        Args:
            lease: Of the lock.

        Returns:
            Whether something that was cut off was finished.
        """
        _, finished = self.moves.recover(lease)
        found, champion = self.versions.alias(CANARY), self.versions.alias(CHAMPION)
        if found is None or champion is None:
            return finished
        is_now, against = str(champion.version), found.tags.get(AGAINST, "")
        if str(found.version) == is_now:
            self.end("it is champion", lease)
        elif against and not found.tags.get(ENDED) and against != is_now:
            self.end(f"version {is_now} is champion, and it was compared with version {against}", lease)
        return finished


def forced(version: Any) -> bool:
    """Whether a person made a version canary against the gate."""
    return str(version.tags.get(FORCED, "")) == "true"


def before(version: Any) -> str:
    """That a version was canary in an earlier attempt at the step, and what came of it; empty if it never was."""
    if ended := version.tags.get(ENDED):
        return f"canary before: {ended}"
    return "canary before" if version.tags.get(STARTED) else ""
