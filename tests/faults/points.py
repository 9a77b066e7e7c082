"""Where a run can go wrong: the points of the matrix, drawn by a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.proxy import KINDS

STEPS = ("prepare", "warmup", "evaluate", "decide", "decide", "generate", "filter", "train")
WEIGHTS = {"steps": 40, "deciding": 18, "publishing": 14, "fetching": 14, "servers": 12, "runner": 2}
"""How many of a hundred points fall into each area: a run costs a minute, a fetch a second."""
SERVERS = ("s3", "mlflow", "s3 and mlflow")
RECORDS = ("as it was", "damaged", "gone", "of an older release")
SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
SKEWS = (-86_400, -600, 600, 86_400)
"""Seconds that a machine's clock is off."""


@dataclass(frozen=True)
class Point:
    """One thing that goes wrong.

    Attributes:
        number: In the matrix.
        area: A key of :data:`WEIGHTS`.
        work: What is done when it happens, such as a step's name.
        fault: What happens.
        place: Share of the work that is done by then, 0 to 1.
        details: What the fault needs to know.
    """

    number: int
    area: str
    work: str
    fault: str
    place: float
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.area}: {self.work}" if self.area != "servers" else "servers"

    @property
    def happens(self) -> str:
        """For the table: what goes wrong, and where."""
        extra = ", ".join(str(v) for v in self.details.values())
        return f"{self.fault} at {self.place:.0%}" + (f" ({extra})" if extra else "")


def draw(count: int, seed: int, areas: Sequence[str] = tuple(WEIGHTS)) -> list[Point]:
    """So many points, the same for the same seed.

    Args:
        count: Of points.
        seed: Of the draw.
        areas: Keys of :data:`WEIGHTS`.
    """
    dice = random.Random(seed)
    total = sum(WEIGHTS[area] for area in areas)
    counts = {area: count * WEIGHTS[area] // total for area in areas}
    for area in sorted(areas, key=lambda a: -WEIGHTS[a])[: count - sum(counts.values())]:
        counts[area] += 1
    drawn = [_draw(area, dice) for area in areas for _ in range(counts[area])]
    dice.shuffle(drawn)
    return [Point(number, *rest) for number, rest in enumerate(drawn, 1)]


def _draw(area: str, dice: random.Random) -> tuple[str, str, str, float, Mapping[str, Any]]:
    place = dice.random()
    if area == "servers":
        details = {"server": dice.choice(SERVERS), "record": dice.choice(RECORDS)}
        fault = dice.choice(("killed with its children", "killed alone", "starter killed"))
        return area, "servers", fault, place, details
    if area == "runner":
        return area, "selfemo run", "killed", place, {"signal": dice.choice(SIGNALS)}
    work = {
        "steps": STEPS,
        "deciding": ("promote", "rollback"),
        "publishing": ("publish",),
        "fetching": ("fetch",),
    }[area]
    doing = dice.choice(work)
    kinds = [*KINDS, *(k for k in KINDS if "kill" in k), "disk full", "killed at a file", "clock off"]
    if area == "steps":
        kinds += ["killed while computing"] * 2
    fault = dice.choice(kinds)
    if fault in KINDS:
        through = "s3" if area in ("publishing", "fetching") else dice.choice(("s3", "mlflow"))
        return area, doing, fault, place, {"through": through}
    return area, doing, fault, place, {"seconds": dice.choice(SKEWS)} if fault == "clock off" else {}
