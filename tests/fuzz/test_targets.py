"""A sample of `make fuzz`: the kept inputs, and changes of them that a seed draws. Fuzzing: tests/fuzz/run.py."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, quiet

CORPUS = Path(__file__).parent / "corpus"
CHANGES = 15
"""Of each kept input."""
ODD = [
    b"\x00",
    b"\xff",
    b"\x85",
    "\u2028".encode(),
    b"\r",
    b'"',
    b",",
    b"[" * 2000,
    b"9" * 5000,
    b"\x1b]0;x\x07",
    b"null",
]


def changed(data: bytes, dice: random.Random) -> bytes:
    """Bytes with a part cut out, doubled, or something odd put in."""
    start, end = sorted(dice.randrange(len(data) + 1) for _ in range(2))
    part = dice.choice((b"", data[start:end] * 2, dice.choice(ODD), bytes([dice.randrange(256)])))
    return data[:start] + part + (data[end:] if dice.random() < 0.5 else data[start:])


def inputs(name: str) -> Iterator[bytes]:
    dice = random.Random(name)
    kept = [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
    assert kept, "each target has inputs to begin with"
    yield from (b"", *kept)
    for data in kept:
        yield from (changed(data, dice) for _ in range(CHANGES))


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_makes_a_traceback(name: str) -> None:
    with quiet():
        for data in inputs(name):
            try:
                TARGETS[name](data)
            except Exception as error:
                raise AssertionError(f"{name} fails on {data[:500]!r}") from error


def test_every_corpus_has_a_target_and_every_target_a_corpus() -> None:
    assert {place.name for place in CORPUS.iterdir()} == set(TARGETS)
