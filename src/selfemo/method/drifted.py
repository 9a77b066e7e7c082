"""When a measure has drifted; apart from what measures it, since a command's help shows it and imports no more."""

FEWEST = 20
"""Dialogues of each side below which nothing is decided."""
BOUND, CHANCE = 0.25, 0.01
"""Index above which, and chance below which, a measure has drifted."""
