"""The champion alias, moved so that a crash between any two calls is made good by whoever comes next.

MLflow changes one thing at a time. So a move is first written down whole (one tag of the registered model), then made
(the alias, which is the truth), then told in the tags of the version, and last marked as done: a write-ahead log with
one entry. Who finds an entry that is not done looks where the alias points. There already: the rest is done over again,
from the entry. Not there: the move never happened.

All of it happens under a lock (`store.lock`). Aliases have no compare-and-swap, so the lock is renewed before
the alias moves and looked at afterwards. A holder that finds it lost then, and that another has moved the champion
since, puts the alias back the next time it holds the lock. What remains: a holder that stalls for longer than the
lock's time just between its look and the alias, and is killed before it looks again. That is as if somebody moved the
alias by hand.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from selfemo.errors import GateClosed, UserError
from selfemo.logs import printable
from selfemo.registry.mlflow_client import MISSING, Refused, quoted
from selfemo.registry.versions import CHAMPION, Versions
from selfemo.store.lock import Lease, who

log = logging.getLogger(__name__)

PROMOTED, ROLLED_BACK, PREVIOUS = "selfemo.promoted_at", "selfemo.rolled_back", "selfemo.previous_champion"
MOVE = "selfemo.promotion_number"
LOG = "selfemo.champion_move"
"""Tag of the registered model: the last move. MLflow keeps 5,000 characters of it."""
MOST = 300
"""Characters of a reason that are kept: a record has it three times, once as JSON in JSON, seven characters for one."""


def kept(reason: str) -> str:
    """As much of a reason as is kept."""
    return printable(reason)[:MOST]


@dataclass(frozen=True)
class Move:
    """A change of champion.

    Attributes:
        number: One more than that of the move before.
        kind: ``promotion`` or ``rollback``.
        before: Version that was champion; empty if there was none.
        after: Version that is champion then.
        reason: Why.
        tags: What is told of it, in the tags of the version that was promoted or rolled back.
        done: Whether it is over, tags and all.
    """

    number: int
    kind: str
    before: str
    after: str
    reason: str
    tags: dict[str, str]
    done: bool = False

    @property
    def told(self) -> str:
        """The version whose tags tell of it."""
        return self.after if self.kind == "promotion" else self.before


class Champion:
    """The champion of a registered model; every method is called under the lock.

    Args:
        versions: Of the model.
    """

    def __init__(self, versions: Versions) -> None:
        self.versions, self.client, self.model = versions, versions.client, versions.model
        self._made: Move | None = None  # by this process

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
        if not passed and not force:
            raise GateClosed(
                f"version {number} is not promoted: {reason}",
                where="gate",
                fix="train a better challenger, or use --force --reason WHY",
            )
        self.recover(lease)
        version, current = self.versions.get(number), self.versions.alias(CHAMPION)
        before, number = "" if current is None else str(current.version), str(version.version)
        if before == number:
            return before
        told = {
            "selfemo.promoted_by": who(),
            "selfemo.promotion_reason": kept(reason),
            "selfemo.promotion_evidence": evidence,
            "selfemo.promotion_forced": str(force).lower(),
            PREVIOUS: before,
        }
        if version.tags.get(ROLLED_BACK):
            told[ROLLED_BACK] = ""  # somebody changed their mind
        told[PROMOTED] = _now()  # the last: whoever reads it can rely on the others, and on the alias
        self._make("promotion", before, number, reason, told, lease)
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
        again = last is not None and last.kind == "rollback" and (finished or last.reason == kept(reason))
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
        self._make("rollback", was, earlier, reason, {ROLLED_BACK: f"by {who()}: {kept(reason)}"}, lease)
        return was, earlier

    def recover(self, lease: Lease | None = None) -> tuple[Move | None, bool]:
        """Finish the move of a holder that was cut off; the last move that was made, and whether it was finished here.

        A move that this process made too late, over another's, is taken back.

        Args:
            lease: Of the lock.
        """
        last = self._last()
        if last is None:
            return None, False
        current = self.versions.alias(CHAMPION)
        now = "" if current is None else str(current.version)
        mine = self._made
        if mine and last.number > mine.number and now == mine.after != last.after:
            now = last.after if last.done else last.before
            log.warning("the lock was lost while version %s became champion: %s is again", mine.after, now or "none")
            if now:
                self.versions.set_alias(CHAMPION, now, lease)
            else:
                self.versions.remove_alias(CHAMPION)
        if last.done:
            return last, False
        if now != last.after:
            return None, False
        log.info("the %s of version %s was cut off, and is finished now", last.kind, last.told)
        return self._finish(last, lease), True

    def _make(self, kind: str, before: str, after: str, reason: str, tags: dict[str, str], lease: Lease | None) -> None:
        last = self._last()
        number = 1 if last is None else last.number + 1
        if kind == "promotion":  # two may fall into one second
            tags = {MOVE: str(number), **tags}
        move = Move(number, kind, before, after, kept(reason), tags)
        self._write(move, lease)
        self._made = move
        self.versions.set_alias(CHAMPION, after, lease)
        if lease is not None:
            lease.renew()
        self._finish(move, lease)

    def _finish(self, move: Move, lease: Lease | None) -> Move:
        """Tell of a move that was made, and mark it as done; again does no harm."""
        for key, value in move.tags.items():
            try:
                self.client.set_model_version_tag(self.model, move.told, key, value)
            except Refused as error:
                if error.code not in MISSING:
                    raise
                break  # it was deleted: nobody is left to be told
        done = replace(move, done=True)
        self._write(done, lease)
        return done

    def gone(self) -> str:
        """The last champion, where there is none now: deleted, or its alias taken away; empty if there never was one.

        Raises:
            UserError: If the registry cannot be asked.
        """
        last = self._last()
        if last is not None and last.done:
            return last.after
        history = self._history()
        return str(history[-1].version) if history else "" if last is None else last.before

    def became(self) -> dict[str, str]:
        """What was done with each version, by the URI of its weights: promoted, rolled back, or kept."""
        found = self.client.search_model_versions(f"name={quoted(self.model)}")
        return {
            str(v.source): "rolled back" if v.tags.get(ROLLED_BACK) else "promoted" if v.tags.get(PROMOTED) else "kept"
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

    def _write(self, move: Move, lease: Lease | None) -> None:
        text = json.dumps(asdict(move), ensure_ascii=False)

        def write(mlflow: Any) -> None:
            if lease is not None:
                lease.renew()
            mlflow.set_registered_model_tag(self.model, LOG, text)

        self.client.patiently(write)

    def _last(self) -> Move | None:
        """The last move, or None if there was none, or its record is damaged: then the alias speaks for itself."""
        try:
            found = self.client.get_registered_model(self.model).tags.get(LOG)
        except Refused as error:
            if error.code in MISSING:  # nothing was ever registered
                return None
            raise
        try:
            return Move(**json.loads(found)) if found else None
        except (ValueError, TypeError):
            return None


def _when(version: Any) -> tuple[str, int]:
    number = version.tags.get(MOVE, "")
    return str(version.tags[PROMOTED]), int(number) if number.isdecimal() else 0


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
