"""``selfemo review``: a person labels the turns that are worth a minute; the next cycle learns from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from selfemo.cli.base import configured, surroundings
from selfemo.cli.feedback import PLACE, place_of
from selfemo.cli.output import Report, reports
from selfemo.errors import UserError
from selfemo.shown import printable

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.data.corrections import Correction
    from selfemo.data.feedback import Feedback
    from selfemo.review.asked import Asked

F = TypeVar("F", bound=Callable[..., Any])


def _named(_: click.Context, option: click.Parameter, who: str) -> str:
    if not who.strip() or who != printable(who):
        raise click.BadParameter("it is empty, or cannot be shown; give a name, as --who ada", param=option)
    return who


WHO = click.option("--who", required=True, callback=_named, help="Who labels, as your people agree to be known.")


def _chosen(command: F) -> F:
    """Options that choose turns."""
    command = click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most turns.")(
        command
    )
    return click.option(
        "--samples", metavar="URI", help="What a filter step kept: turns in which its voices disagree are asked too."
    )(command)


@click.group()
def review() -> None:
    """Label the turns in which the policy is unsure, its voices disagree, or people speak as nobody did before.

    \b
    Example:
      selfemo review open --place s3://served/feedback --who ada
    """


@review.command("open")
@configured
@PLACE
@_chosen
@WHO
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 is any free one.")
def open_(config: Config, place: str | None, samples: str | None, limit: int, who: str, port: int) -> None:
    """Serve a page on this machine: digits choose labels, / finds one, Enter saves, s skips, u undoes.

    \b
    Example:
      selfemo review open --place s3://served/feedback --who ada
    """
    import secrets
    import socket

    from selfemo.data.needs import needed

    needed("fastapi", "serve")
    from selfemo.review.page import application
    from selfemo.review.sitting import Sitting
    from selfemo.serving.server import server

    found = place_of(config, place)
    turns = _turns(config, found, samples, limit)
    if not turns:
        return
    token = secrets.token_urlsafe(24)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            fix = "end what listens there, or give another, or 0"
            raise UserError(f"port {port}: {error.strerror}", where="--port", fix=fix) from None
        port = listening.getsockname()[1]
        click.echo(f"{len(turns)} turns: open http://127.0.0.1:{port}/#{token}\nCtrl-C ends it; what is saved is saved")
        server(application(Sitting(turns, found, who), token), "127.0.0.1", port).run(sockets=[listening])


@review.command()
@configured
@PLACE
@_chosen
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A .csv or .json file.")
@reports("turns", "files")
def export(config: Config, place: str | None, samples: str | None, limit: int, out: Path) -> Report:
    """Write the turns as CSV for a spreadsheet, or as Label Studio's tasks (.json), its interface (.xml) beside.

    \b
    Example:
      selfemo review export --place s3://served/feedback --out turns.csv
    """
    from selfemo.review import label_studio, table
    from selfemo.store.backends import LocalBackend

    if out.suffix not in (".csv", ".json"):
        raise UserError(f"{out.name} is neither .csv nor .json", where="--out", fix="end its name so")
    turns = _turns(config, place_of(config, place), samples, limit)
    if not turns:
        return Report({"turns": 0, "files": []})
    files = {out: table.written(turns) if out.suffix == ".csv" else label_studio.tasks(turns)}
    if out.suffix == ".json":
        spaces = {turn.space.name: turn.space for turn in turns}
        for name, space in spaces.items():
            files[out.with_suffix(".xml" if len(spaces) == 1 else f".{name}.xml")] = label_studio.interface(space)
    for file, text in files.items():
        try:
            if not LocalBackend().create(file.absolute().as_uri(), text.encode()):
                fix = "give another name, or remove it: it may hold somebody's labels"
                raise UserError("the file is there already", where=str(file), fix=fix)
        except OSError as error:
            fix = "name a file in a directory that can be written"
            raise UserError(error.strerror or str(error), where=str(file), fix=fix) from None
        click.echo(f"{file} is written")
    said = f"{len(turns)} turns; when they are labelled: selfemo review import {out} --who NAME"
    return Report({"turns": len(turns), "files": list(files)}, said)


@review.command("import")
@configured
@PLACE
@WHO
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@reports("turns", "dialogues", "place")
def import_(config: Config, place: str | None, who: str, file: Path) -> Report:
    """Take the labels of a CSV that was exported and filled in, or of Label Studio's JSON export, as gold.

    \b
    Example:
      selfemo review import turns.csv --who ada --place s3://served/feedback
    """
    from selfemo.data.corpora.load import load_corpora
    from selfemo.review import label_studio, table

    if file.suffix not in (".csv", ".json"):
        raise UserError(f"{file.name} is neither .csv nor .json", where=str(file), fix="give the file so named")
    read = table.read if file.suffix == ".csv" else label_studio.read
    spaces, found = config.spaces(), place_of(config, place)
    corpora = load_corpora(config.corpora, spaces, config.evaluation.split, config.store.endpoint)
    turns = {row.id: len(row.turns) for row in chain(found.conversations(), corpora.whole)}
    rows: list[Correction] = read(file, spaces, turns, who, datetime.now(UTC))
    found.add_corrections(rows)
    dialogues = len({row.dialogue for row in rows})
    said = f"{len(rows)} labelled turns in {dialogues} dialogues are kept in {found.uri}"
    return Report({"turns": len(rows), "dialogues": dialogues, "place": found.uri}, said)


def _turns(config: Config, place: Feedback, samples: str | None, limit: int) -> list[Asked]:
    from selfemo.data.corpora.load import load_corpora
    from selfemo.data.records import Sample, read_records
    from selfemo.review.asked import asked

    spaces = config.spaces()
    kept: list[Sample] = []
    if samples:
        context = surroundings(config, needs=("s3",) if samples.startswith("s3://") else ())
        kept = list(read_records(context.store.fetch(samples) / "samples.jsonl.gz", Sample))
    corpora = load_corpora(config.corpora, spaces, config.evaluation.split, config.store.endpoint)
    found = asked(
        chain(place.conversations(), corpora.whole),
        place.readings(),
        place.corrections(),
        spaces,
        samples=kept,
        seen=corpora.training,
        limit=limit,
    )
    if not found:
        click.echo(f"no turn of {place.uri} is worth asking about: all are sure, agreed on, or labelled")
    return found
