"""``selfemo feedback``: what came back from what is served; its retention, and what its people ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from selfemo.cli import complete
from selfemo.cli.base import configured, surroundings
from selfemo.cli.output import Report, reports
from selfemo.errors import UserError

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.data.feedback import Feedback

PLACE = click.option(
    "--place",
    help="Directory or s3://bucket/prefix; default: the configuration's feedback.path.",
    shell_complete=complete.directories,
)


@click.group()
def feedback() -> None:
    """Conversations and corrections that came back from what is served (docs/feedback.md).

    \b
    Example:
      selfemo feedback show --place s3://served/feedback
    """


@feedback.command()
@configured
@PLACE
@reports("place", "days", "conversations", "corrections", "corrected_dialogues")
def show(config: Config, place: str | None) -> Report:
    """Say what is there: conversations by day and label space, readings, corrections.

    \b
    Example:
      selfemo feedback show --place s3://served/feedback
    """
    from collections import Counter

    found = place_of(config, place)
    pieces = found.pieces()
    days = sorted(Counter((piece.kind, piece.day) for piece in pieces).items())
    conversations = dict(sorted(Counter(d.corpus for d in found.conversations()).items()))
    corrections = found.corrections()
    corrected = len({c.dialogue for c in corrections})
    lines = [] if pieces else [f"nothing is there yet: {found.uri}"]
    lines += [f"{day} {kind:<14} {files:>6} files" for (kind, day), files in days]
    lines += [f"conversations of {corpus}: {count}" for corpus, count in conversations.items()]
    lines.append(f"corrections that count: {len(corrections)}, in {corrected} dialogues")
    values = {
        "place": found.uri,
        "days": [{"day": day, "kind": kind, "files": files} for (kind, day), files in days],
        "conversations": conversations,
        "corrections": len(corrections),
        "corrected_dialogues": corrected,
    }
    return Report(values, "\n".join(lines))


@feedback.command()
@configured
@PLACE
@click.option("--days", type=click.IntRange(min=0), required=True, help="What was written before these days goes.")
@reports("place", "removed")
def expire(config: Config, place: str | None, days: int) -> Report:
    """Remove what is older than some days; corrections of a corpus's dialogues stay. Give it to a CronJob.

    \b
    Example:
      selfemo feedback expire --place s3://served/feedback --days 30
    """
    found = place_of(config, place)
    gone = found.expire(days)
    return Report({"place": found.uri, "removed": gone}, _removed(gone))


@feedback.command()
@configured
@PLACE
@click.argument("dialogues", nargs=-1, required=True)
@reports("place", "removed", "runs")
def erase(config: Config, place: str | None, dialogues: tuple[str, ...]) -> Report:
    """Remove conversations by id, with all that was read in them and said of them; name the runs that have a copy.

    \b
    Example:
      selfemo feedback erase --config nightly.yaml support/collected/chatcmpl-1f0c...
    """
    found = place_of(config, place)
    gone, runs = found.erase(dialogues), list[str]()
    click.echo(_removed(gone))
    if place is None:
        from selfemo.steps.feedback import holders

        runs = list(holders(surroundings(config), set(dialogues)))
    said = [f"run {run} has a copy: delete it in MLflow with its versions, then: selfemo gc --delete" for run in runs]
    return Report({"place": found.uri, "removed": gone, "runs": runs}, "\n".join(said))


def place_of(config: Config, place: str | None) -> Feedback:
    """The place that an option names, or else the configuration.

    Raises:
        UserError: If neither does, or its server does not answer.
    """
    from selfemo.context import Context
    from selfemo.data.feedback import Feedback

    named = place or config.feedback.path
    if named is None:
        raise UserError("no place is named", where="--place", fix="give it, or set feedback.path in the configuration")
    if not named.startswith("s3://"):
        return Feedback.at(named)
    context = surroundings(config, needs=("s3",)) if place is None else Context(config)
    backend = context.store.backend("s3://") if place is None else None
    return Feedback.at(named, config.store.endpoint, backend)


def _removed(gone: dict[str, int]) -> str:
    from selfemo.data.feedback import KINDS

    return f"removed {', '.join(f'{gone[kind]} {kind}' for kind in KINDS)}"
