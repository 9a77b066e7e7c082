"""A run of which nothing but its records is here: the rounds that are decided, from MLflow and the store."""

from __future__ import annotations

from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.runs.find import find
from selfemo.runs.going import BEFORE, ROUND, Going, PieceState
from selfemo.runs.state import state_of
from selfemo.runs.table import corpora_of


def recorded(context: Context, name: str) -> Going:
    """A run as its records have it.

    Args:
        context: Of registry and store; its run's name does not matter.
        name: Of the run.

    Raises:
        UserError: If there is none; names those there are.
    """
    run = find(context, name)
    rounds, shards = (run.settings.get(key, "") for key in ("loop.rounds", "launch.shards"))
    base = run.settings.get("policy.base", "")
    found = Going(name, f"{base} on {corpora_of(run.settings)}", state=state_of(run, context.workdir))
    found.rounds = int(rounds) if rounds.isdigit() else 0
    found.shards = int(shards) if shards.isdigit() else 1
    found.plan()
    for round in figures(context, found):
        for step in ROUND if round else BEFORE:
            for (number, named, _), piece in found.pieces.items():
                if (number, named) == (round, step):
                    piece.state = PieceState.DONE
    if elsewhere := run.elsewhere(context):
        found.notes.append(f"its rounds lie in another store: {elsewhere}")
    found.close()
    return found


def figures(context: Context, run: Going) -> list[int]:
    """Add what decided rounds came to, and the last samples that were accepted, as records have them; rounds it is of.

    Where MLflow or the store do not answer from here, that is noted.

    Args:
        context: Of registry and store.
        run: Is added to.
    """
    try:
        decided = find(context, run.name).decided(context)
        for decision in decided:
            run.decided(int(decision.inputs["round"]), decision.result)
            trained = context.store.manifest(str(decision.inputs["challenger"]))
            if trained is not None and "samples" in trained.inputs:
                run.samples = (str(trained.inputs["samples"]), int(decision.inputs["round"]))
    except UserError as error:
        run.notes.append(f"no figures: {error.message}")
        return []
    return [int(decision.inputs["round"]) for decision in decided]
