"""Schedules as Kubeflow Pipelines takes them: six fields, seconds first, or a word such as ``@daily``.

Elsewhere the five fields ``0 3 * * *`` mean every night at three. Kubeflow reads seconds first and lets the weekday be
absent: it would take them for the third minute of every hour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfemo.errors import UserError

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
FIELDS: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, DAYS),
)
WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EVERY = re.compile(r"@every (?=.*[1-9])(\d+(\.\d+)?(h|m|s|ms))+")
_PART = re.compile(r"(?:(\*|\?)|(\w+)(?:-(\w+))?)(?:/(\d+))?")


def checked(schedule: str) -> str:
    """A schedule that Kubeflow takes for what it says.

    Raises:
        UserError: If it is none, or has no field for seconds.
    """
    if schedule in WORDS or _EVERY.fullmatch(schedule):
        return schedule
    fields = schedule.split()
    if schedule.startswith("@") or len(fields) != len(FIELDS):
        five = len(fields) == 5 and not any(_wrong(*pair) for pair in zip(fields, FIELDS[1:], strict=True))
        raise UserError(
            f"{schedule!r} is no schedule that Kubeflow has"
            if schedule.startswith("@")
            else f"{schedule!r} has {len(fields)} fields, and Kubeflow's schedules have six, seconds first",
            where="--recurring",
            fix=f"write '0 {schedule}'" if five else "write it like '0 0 3 * * *', or @daily, or @every 12h",
        )
    for pair in zip(fields, FIELDS, strict=True):
        if wrong := _wrong(*pair):
            fix = "second, minute, hour, day of the month, month, day of the week: write it like '0 0 3 * * *'"
            raise UserError(f"{schedule!r}: {wrong}", where="--recurring", fix=fix)
    if not _has_day(fields[3], fields[4]):
        raise UserError(f"{schedule!r} never comes", where="--recurring", fix="no month that it names has that day")
    return schedule


def _has_day(days: str, months: str) -> bool:
    """Whether a month that a schedule names has a day that it names: the 31st of February is never."""
    if re.search(r"[*?-]", months):
        return True  # two months that follow each other: one has 31 days
    starts = [re.split(r"[-/]", day)[0] for day in days.split(",")]
    first = min(1 if day in "*?" else int(day) for day in starts)
    numbers = [_number(month.split("/")[0], 1, MONTHS) or 1 for month in months.split(",")]
    return first <= max(_LENGTHS[number - 1] for number in numbers)


def _wrong(field: str, kind: tuple[str, int, int, Sequence[str]]) -> str:
    """What is wrong with a field; empty if nothing is."""
    name, least, most, names = kind
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            return f"{part!r} is no {name}"
        bounds = [_number(word, least, names) for word in match.group(2, 3) if word is not None]
        numbers = [number for number in bounds if number is not None and least <= number <= most]
        if len(numbers) < len(bounds):
            return f"{part!r} is no {name}: {least} to {most}"
        if numbers != sorted(numbers) or (match[4] and not int(match[4])):
            return f"{part!r} never comes"
    return ""


def _number(word: str, least: int, names: Sequence[str]) -> int | None:
    if word.lower() in names:
        return names.index(word.lower()) + least
    return int(word) if re.fullmatch(r"[0-9]{1,2}", word) else None
