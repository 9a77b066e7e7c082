"""``selfemo data import``: conversations of one's own become a corpus."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from selfemo.cli.output import Report, reports
from selfemo.shown import printable
from selfemo.terminal import show_table

if TYPE_CHECKING:
    from selfemo.data.intake.plan import ImportPlan, Options
    from selfemo.data.redaction import Redactor

F = TypeVar("F", bound=Callable[..., Any])


def column(flag: str, what: str, several: bool = False) -> Callable[[F], F]:
    """A flag that names a column."""
    return click.option(flag, multiple=several, metavar="COLUMN", help=f"{what}{'; may be repeated' * several}.")


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory to make.")
@click.option("--name", help="Of the corpus; default: that of the directory.")
@column("--text", "What is said")
@column("--speaker", "Who says it")
@column("--dialogue", "Id of the dialogue, or @row (a row is one), or @file", several=True)
@column("--turn", "Place of the turn in its dialogue")
@column("--time", "Time of the turn, where no column numbers turns")
@column("--label", "Labels; several columns of 0 and 1 are a label each", several=True)
@column("--votes", "Votes by label; several columns are a label each", several=True)
@column("--rater", "Who labelled the row: rows of one turn become one, with votes")
@column("--split", "train, dev (validation) or test")
@column("--group", "Of speakers or clients: none is both learnt from and held out")
@click.option("--label-of", metavar="SPEAKER", help="Whose turns the label is of: `first`, or a speaker.")
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help="labels.yaml, or a list of names.")
@click.option("--neutral", metavar="LABEL", help="It stands for no emotion; default: one that is called so in English.")
@click.option("--encoding", help="Such as utf-8, cp1252, mac-roman.")
@click.option("--delimiter", help="Of a CSV file: one character, or `tab`.")
@click.option("--header/--no-header", default=None, help="Whether the first row names the columns.")
@click.option(
    "--quotes", type=click.Choice(["double", "none"]), help="Whether quotes enclose cells, or are characters."
)
@click.option(
    "--shares", metavar="TRAIN,DEV,TEST", help="Draw splits by dialogue; default where none are stated: 80,10,10."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of that draw.")
@click.option(
    "--gap",
    type=click.FloatRange(0),
    default=8,
    show_default=True,
    help="Hours of silence that end a chat without ids; 0: none do.",
)
@click.option("--redact", is_flag=True, help="Mask numbers, addresses, keys, and names of speakers.")
@click.option(
    "--redact-model",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="Mask names and places as well, with a token classifier of yours.",
)
@click.option("--redact-command", metavar="COMMAND", help="Mask with a command: a JSON string a line in and out.")
@click.option(
    "--redact-region",
    "regions",
    multiple=True,
    metavar="XX",
    help="Country whose telephone numbers are known; default: US, GB.",
)
@click.option("--yes", is_flag=True, help="Take what was guessed, ask nothing.")
@click.option("--skip-bad", is_flag=True, help="Put bad rows into quarantine.jsonl instead of stopping.")
@click.option("--force", is_flag=True, help="Replace an import that is there.")
@reports("name", "out", "counts", "labels", "neutral", "several_labels", "votes", "left_out", "masked")
def import_(files: tuple[Path, ...], out: Path, name: str | None, **given: Any) -> Report:
    """Make a corpus of conversations, whatever form they are in.

    CSV, TSV, JSON, JSON Lines, Parquet, Arrow, exported chats, or a directory of a Hugging Face dataset, ConvoKit
    or IEMOCAP.

    \b
    Examples:
      selfemo data import tickets.csv --out support
      selfemo data import chats.jsonl --out chats --redact --group customer
    """
    from selfemo import logs
    from selfemo.data.intake import plan as plans
    from selfemo.data.intake import write

    logs.configure()
    options, redactor = options_of(given), _redactor(given)
    name = _name(name, out)
    write.check_free(out, given["force"])
    plan = plans.make(files, options)
    show(plan, f"{name}: what will be read")
    if not given["yes"]:
        plan = made_sure(plan, options, lambda options: plans.make(files, options), "Import this?")
    report = write.run(plan, out, name, skip_bad=given["skip_bad"], force=given["force"], redactor=redactor)
    values = {key: report[key] for key in ("name", "counts", "labels", "neutral", "masked")} | {
        "out": out,
        "several_labels": report["turns with several labels"],
        "votes": report["turns with votes"],
        "left_out": report["left out"],
    }
    return Report(values, lambda: _summary(report, out))


def options_of(given: dict[str, Any]) -> Options:
    """What flags state; those that a command does not have are not stated."""
    from dataclasses import fields

    from selfemo.data.intake.plan import Options
    from selfemo.data.intake.splits import Shares

    known: dict[str, Any] = {f.name: given[f.name] for f in fields(Options) if f.name in given}
    if known["delimiter"] in ("tab", "\\t"):
        known["delimiter"] = "\t"
    known["quoted"] = {"double": True, "none": False, None: None}[given["quotes"]]
    if known.get("shares"):
        known["shares"] = Shares.parse(known["shares"])
    return Options(**known)


def _redactor(given: dict[str, Any]) -> Redactor | None:
    from selfemo.data.redaction import Command, Patterns
    from selfemo.data.redaction_model import Model
    from selfemo.errors import UserError

    if given["redact_command"]:
        if given["redact"] or given["redact_model"]:
            raise UserError("goes alone", where="--redact-command", fix="leave out --redact and --redact-model")
        return Command(given["redact_command"])
    regions = tuple(region.upper() for region in given["regions"]) or ("US", "GB")
    patterns = Patterns(regions).ready() if given["redact"] or given["redact_model"] else None
    return Model.load(given["redact_model"], patterns) if given["redact_model"] and patterns else patterns


def _name(name: str | None, out: Path) -> str:
    """The corpus's name.

    Raises:
        UserError: If it can be none.
    """
    from selfemo.data.corpora.own import NAME, TAKEN
    from selfemo.data.corpora.table import CORPORA
    from selfemo.errors import UserError

    found = name or out.resolve().name
    if not NAME.fullmatch(found) or found in TAKEN or found in CORPORA:
        why = "is a shipped corpus" if found in CORPORA else "is no name for a corpus"
        raise UserError(f"{found!r} {why}", where="--name", fix="give --name with letters, digits and dashes")
    return found


def show(plan: ImportPlan, title: str, without: tuple[str, ...] = ()) -> None:
    """What was guessed, as a table."""
    from selfemo.data.intake.plan import described

    rows = [(what, value, "" if sure else "not sure") for what, value, sure in described(plan) if what not in without]
    show_table(("", "guessed or given", ""), rows, title=title, left=("guessed or given",))


def made_sure(plan: ImportPlan, options: Options, make: Callable[[Options], ImportPlan], question: str) -> ImportPlan:
    """A plan of which all is sure: on a terminal, what is not is asked for.

    Args:
        plan: What was guessed.
        options: From what flags state.
        make: Guesses anew.
        question: Asked last.

    Raises:
        UserError: Elsewhere, for the first thing that is not sure.
    """
    from selfemo.data.intake import plan as plans

    if sys.stdin.isatty() and sys.stdout.isatty():
        plan = _ask(plan, options, make)
        click.confirm(question, default=True, abort=True)
    plans.check_sure(plan)
    return plan


def _ask(plan: ImportPlan, options: Options, make: Callable[[Options], ImportPlan]) -> ImportPlan:
    """Ask for what is not sure, until all is."""
    from dataclasses import replace

    from selfemo.data.intake import plan as plans
    from selfemo.data.intake.columns import NONE, ROLES
    from selfemo.data.intake.encodings import sample_line
    from selfemo.errors import UserError
    from selfemo.logs import shown

    while plan.unsure:
        what, flag = next(iter(plan.unsure.items()))
        guessed = plans.guessed(plan, what)
        if what == "encoding":
            path = next(t.source.path for t in plan.tables if not t.known_encoding.sure)
            for name in (guessed, *plan.encodings()):
                click.echo(f"  {name}: {printable(sample_line(path, name))}")
        elif what in ROLES:
            click.echo(printable(f"  columns: {', '.join(plan.choices)}"))
        answer = click.prompt(f"{what.replace('_', ' ')} ({flag})", default=guessed or NONE).strip()
        before, options = options, plans.answered(options, what, answer)
        try:
            plan = make(options)
        except UserError as error:
            click.echo(shown(error), err=True)
            options = before
            continue
        if options == before:  # no answer changes what was guessed
            plan = replace(plan, unsure={k: v for k, v in plan.unsure.items() if k != what})
    return plan


def _summary(report: dict[str, Any], out: Path) -> None:
    head = ("dialogues", "turns", "labelled")
    rows = [(split, *(counts[name] for name in head)) for split, counts in report["counts"].items()]
    show_table(("split", *head), rows)
    labels = ", ".join(f"{label} {count}" for label, count in list(report["labels"].items())[:30])
    click.echo(printable(f"labels: {labels or 'none; name them in the configuration'}"))
    if report["labels"]:
        click.echo(
            printable(f"neutral label: {report['neutral'] or 'none; if one means no emotion, give --neutral LABEL'}")
        )
    for what in ("turns with several labels", "turns with votes"):
        if report[what]:
            click.echo(f"{what}: {report[what]}")
    for what, count in report["left out"].items():
        if count:
            click.echo(f"left out: {count} {what}")
    if report["masked"] is not None:
        masked = ", ".join(f"{count} {kind}" for kind, count in report["masked"].items() if count)
        click.echo(f"masked: {masked or 'nothing'}")
    click.echo(f"written: {out}; next: selfemo data check {out}")
