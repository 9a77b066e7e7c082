"""What is known of the two versions: their evaluations, and conversations to ask both for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from itertools import chain
from typing import Any

from selfemo.canary.rule import Disagreement
from selfemo.canary.servers import compared
from selfemo.context import Context
from selfemo.data.dialogue import Dialogue
from selfemo.data.feedback import Feedback
from selfemo.method.evaluation import predictions
from selfemo.registry.canary import ASKED
from selfemo.steps.evaluate import scored_on

log = logging.getLogger(__name__)


def asked(context: Context, champion: Any, canary: Any) -> Disagreement | None:
    """In how many conversations the two disagree: asked once for a canary, and kept with its version.

    Args:
        context: With a section ``canary``.
        champion: The version.
        canary: The other one.

    Returns:
        None where nothing is to be asked.

    Raises:
        UserError: If a server does not answer, or the registry or the store cannot be read.
    """
    bounds = context.config.canary
    assert bounds is not None
    if not bounds.ask:
        return None
    if known := _known(canary.tags.get(ASKED, "")):
        return known
    differ, answered = compared(bounds.champion, bounds.canary, list(_dialogues(context, champion, bounds.ask)))
    both, apart = held_out(context, champion, canary)
    made = Disagreement(differ, answered, both, apart)
    text = json.dumps(vars(made))
    context.registry.client.set_model_version_tag(context.registry.model, str(canary.version), ASKED, text)
    return made


def _known(text: str) -> Disagreement | None:
    """What was asked before; None if nothing was, or nobody can read it."""
    try:
        row = json.loads(text)
        return Disagreement(**{name: int(value) for name, value in row.items()})
    except (ValueError, TypeError, AttributeError):
        return None


def held_out(context: Context, champion: Any, canary: Any) -> tuple[int, int]:
    """How many held-out turns both were evaluated on, and in how many they read different label sets.

    Zeros where they were not evaluated on the same turns.
    """
    read = []
    for version in (champion, canary):
        evaluation_uri = version.tags.get("selfemo.scores", "")
        rows = (
            predictions(context.store, evaluation_uri)
            if evaluation_uri and context.store.manifest(evaluation_uri)
            else []
        )
        read.append({(row.corpus, row.dialogue, row.turn): frozenset(row.predicted) for row in rows})
    one, other = read
    if not one or one.keys() != other.keys():
        return 0, 0
    return len(one), sum(one[turn] != other[turn] for turn in one)


def _dialogues(context: Context, champion: Any, count: int) -> Iterator[Dialogue]:
    """The newest conversations that were collected, and where these do not suffice, held-out dialogues."""
    found = chain(_collected(context), scored_on(context.store, champion.tags.get("selfemo.scores", "")))
    for _, dialogue in zip(range(count), found, strict=False):
        yield dialogue


def _collected(context: Context) -> Iterator[Dialogue]:
    config = context.config
    if config.feedback.path:
        known = config.spaces()
        place = Feedback.at(config.feedback.path, config.store.endpoint, context.store.backend("s3://"))
        yield from (dialogue for dialogue in place.conversations() if dialogue.corpus in known)
