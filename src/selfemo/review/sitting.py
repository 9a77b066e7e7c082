"""A person's sitting: which turns were labelled or skipped, and the last of that taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Lock

from selfemo.data.corrections import Correction
from selfemo.data.feedback import Feedback
from selfemo.errors import UserError
from selfemo.review.asked import Asked


class Sitting:
    """Labels go to the place at once; what was skipped is known here alone, and is asked again in the next sitting.

    A page that is loaded again, or open twice, goes on where the sitting is. Requests may come on several threads.

    Args:
        turns: To be labelled, in this order.
        place: Where the labels go.
        who: Gives them.
    """

    def __init__(self, turns: Sequence[Asked], place: Feedback, who: str) -> None:
        self.turns, self.place, self.who = turns, place, who
        self._past: dict[int, bool] = {}
        self._lock = Lock()

    @property
    def past(self) -> list[tuple[int, bool]]:
        """Positions of the turns that are done, in the order in which they were, and whether each has a label."""
        return list(self._past.items())

    def label(self, at: int, labels: Sequence[str]) -> None:
        """Labels of a turn, primary first.

        Raises:
            UserError: If there is no such turn, there are none, one is not of its space, or they cannot be written.
        """
        space = self._turn(at).space
        if wrong := [name for name in labels if name not in space.index]:
            raise UserError(f"{wrong[0]!r} is not a label of {space.name}")
        if not labels:
            raise UserError("no label was given", fix="choose one, or skip the turn")
        with self._lock:
            self._write(at, tuple(dict.fromkeys(labels)))
            self._done(at, labelled=True)

    def skip(self, at: int) -> None:
        """Leave a turn as it is; a label that it was given stays.

        Raises:
            UserError: If there is no such turn.
        """
        self._turn(at)
        with self._lock:
            self._done(at, labelled=self._past.get(at, False))

    def undo(self) -> None:
        """Take back the last of what was done: labels from the place too.

        Raises:
            UserError: If nothing was done, or it cannot be written.
        """
        with self._lock:
            if not self._past:
                raise UserError("there is nothing to undo")
            at, labelled = list(self._past.items())[-1]
            if labelled:
                self._write(at, ())
            del self._past[at]

    def _turn(self, at: int) -> Asked:
        if not 0 <= at < len(self.turns):
            raise UserError(f"there is no turn {at}", fix="load the page again")
        return self.turns[at]

    def _done(self, at: int, *, labelled: bool) -> None:
        self._past.pop(at, None)  # the last one that was done is the last one here
        self._past[at] = labelled

    def _write(self, at: int, labels: tuple[str, ...]) -> None:
        turn = self.turns[at]
        now = datetime.now(UTC)
        row = Correction(dialogue=turn.dialogue, turn=turn.turn, labels=labels, who=self.who, when=now, source="review")
        self.place.add_corrections([row])
