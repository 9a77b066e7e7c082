"""Findings as a person reads them; names that others have written cannot write to the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from selfemo.doctor.findings import Findings, Missing
from selfemo.shown import printable

WIDTH = 16


def lines(found: Findings, name: str) -> Iterator[str]:
    """All of it, line by line.

    Args:
        found: What was found.
        name: Of the configuration.
    """
    for title, rows in (
        ("this machine", _machine(found.machine)),
        ("installed", _installed(found)),
        ("services", [(s.name, f"{s.state}{': ' * bool(s.address)}{s.address}") for s in found.services]),
        (f"chosen for {name}", _chosen(found.chosen)),
    ):
        yield printable(title)
        yield from (printable(f"  {what:<{WIDTH}}{value}") for what, value in rows)
    yield from _missing("missing, and needed", found.needed)
    yield from _missing("not here, and not needed for this", [m for m in found.missing if not m.needed])


def size(count: int | None) -> str:
    """Bytes, for a person."""
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"


def _machine(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    cores = machine["cores"]
    disks = (f"{size(machine[at]['free'])} free at {machine[at]['place']}" for at in ("workdir", "temporary"))
    return [
        ("system", machine["system"]),
        ("processor", f"{machine['processor']} ({machine['instructions']}), {cores} core{'s' if cores > 1 else ''}"),
        ("memory", f"{size(machine['memory_free'])} free"),
        ("GPU", "; ".join(machine["gpus"]) or "none that can be used"),
        ("disk", ", ".join(disks)),
    ]


def _installed(found: Findings) -> list[tuple[str, str]]:
    here = ", ".join(f"{name} {version}" for name, version in found.versions.items() if version)
    whole = ", ".join(name for name, lacks in found.extras.items() if not lacks)
    return [("versions", here), ("extras", whole or "none")]


def _chosen(chosen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "base", chosen["base"]
    yield "engine", chosen["engine"]
    count = chosen["processes"]
    yield "training", f"{count} process{'es' if count > 1 else ''}, {chosen['strategy']}"
    if "undecided" in chosen:
        yield "undecided", chosen["undecided"]
        return
    yield "computing", f"in {chosen['precision']} on {chosen['device']}, threads: {chosen['threads']}"
    sampling, scoring = chosen["sampling_tokens"], chosen["scoring_pass_tokens"]
    by_us = f"at most {sampling:,} when sampling, {scoring:,} in a scoring pass" if sampling else "as vLLM decides"
    yield "tokens at a time", f" {by_us}; {chosen['training_pass_tokens']:,} in a training pass"
    yield "attention", f"{chosen['attention']}; linear layers: {chosen['linear']}"


def _missing(title: str, missing: tuple[Missing, ...] | list[Missing]) -> Iterator[str]:
    if missing:
        yield title
    for one in missing:
        yield printable(f"  {one.what} (for {one.why})")
        yield printable(f"    {one.fix}")
