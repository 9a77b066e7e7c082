"""``selfemo annotate``: the rows of any file again, each with the emotions of its turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfemo.cli import complete
from selfemo.cli.base import configured, surroundings
from selfemo.cli.data_import import column, made_sure, options_of, show
from selfemo.cli.output import Report, reports
from selfemo.errors import UserError

if TYPE_CHECKING:
    from selfemo.config import Config

KEYS = (
    "done",
    "out",
    "held_out",
    "policy",
    "digest",
    "corpus",
    "labels",
    "calibrated",
    "temperature",
    "threshold",
    "dialogues",
    "turns",
    "kept",
    "abstained",
)
"""Of the report; all but the first two are null as long as other shards are not done."""
PRECISION = 0.9
_SKIPPED = ("label", "label names", "label of", "votes", "split", "splits", "group")


def _shard(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int]:
    """``K/N``, K from 0."""
    number, _, count = (value or "0/1").partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise UserError(f"{value!r} is no shard", where="--shard", fix="write K/N with K from 0 to N-1, such as 0/8")
    return int(number), int(count)


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@configured
@click.option(
    "--policy",
    default="models:/self-emo@champion",
    show_default=True,
    help="Who reads.",
    shell_complete=complete.policies,
)
@click.option(
    "--labels",
    "corpus",
    default="",
    help="Whose labels: a corpus; default: the policy's first.",
    shell_complete=complete.corpora,
)
@click.option(
    "--precision",
    type=click.FloatRange(0, 1, min_open=True),
    help=f"Share of right answers among those that are kept, on held-out turns; default: {PRECISION:g}.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Abstain below this confidence instead.")
@click.option("--scores", default="", metavar="EVALUATION", help="URI, or what `selfemo evaluate --out` wrote.")
@click.option("--prefix", default="", help="Of the names of what is added.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="That read, on this machine.")
@click.option(
    "--shard", callback=_shard, metavar="K/N", help="Read every N-th part, K from 0; the last done writes OUT."
)
@column("--text", "What is said")
@column("--speaker", "Who says it")
@column("--dialogue", "Id of the dialogue, or @row (a row is one), or @file", several=True)
@column("--turn", "Place of the turn in its dialogue")
@column("--time", "Time of the turn, where no column numbers turns")
@column("--rater", "Who labelled the row: rows of one turn are read once")
@click.option("--encoding", help="Such as utf-8, cp1252, mac-roman.")
@click.option("--delimiter", help="Of a CSV file: one character, or `tab`.")
@click.option("--header/--no-header", default=None, help="Whether the first row names the columns.")
@click.option("--quotes", type=click.Choice(["double", "none"]), help="Whether quotes enclose cells.")
@click.option("--gap", type=click.FloatRange(0), default=8, show_default=True, help="Hours of silence that end a chat.")
@click.option("--yes", is_flag=True, help="Take what was guessed, ask nothing.")
@click.option("--force", is_flag=True, help="Replace OUT.")
@reports(*KEYS)
def annotate(
    config: Config,
    source: Path,
    out: Path,
    policy: str,
    corpus: str,
    precision: float | None,
    threshold: float | None,
    scores: str,
    prefix: str,
    processes: int,
    shard: tuple[int, int],
    yes: bool,
    force: bool,
    **given: Any,
) -> Report:
    """Read the emotions of every turn of a file; the same rows come out, with what was read.

    Any form that `selfemo data import` takes, out in the same form. Added are the emotions, how likely each label is
    (calibrated), the confidence, and whether to abstain. Killed, the same command goes on; done, it does nothing.

    \b
    Examples:
      selfemo annotate tickets.csv tickets-read.csv --precision 0.9
      selfemo annotate chats.parquet read.parquet --policy ./policy --scores ./scores --processes 2
    """
    from selfemo.annotate.belief import belief_of, evaluation_of, known_of
    from selfemo.annotate.job import Job
    from selfemo.annotate.source import AnnotationSource, plan_of
    from selfemo.policy import names
    from selfemo.serving.command import known_labels
    from selfemo.steps.shards import Shard

    if precision is not None and threshold is not None:
        raise UserError("they are two ways to say one thing", where="--precision, --threshold", fix="give one of them")
    options = options_of(given)
    plan = plan_of([source], options)
    AnnotationSource(source, plan).check(out)
    show(plan, f"{source.name}: what will be read", without=_SKIPPED)
    if not yes:
        plan = made_sure(plan, options, lambda options: plan_of([source], options), "Annotate this?")
    context = surroundings(config, needs=names.needs(policy))
    found = context.policies.find(policy)
    spaces, usual = known_labels(config, found)
    corpus = corpus or usual
    if corpus not in spaces:
        raise UserError(f"no labels {corpus!r}", where="--labels", fix=f"use one of {', '.join(spaces)}")
    where = scores or evaluation_of(context, policy, found)
    known = known_of(context, where, corpus, spaces[corpus]) if where else None
    belief = belief_of(known, where, corpus, PRECISION if precision is None else precision, threshold)
    job = Job(AnnotationSource(source, plan), out, found, corpus, spaces[corpus], belief, prefix, config)
    report = job.run(processes, Shard(*shard), force)
    if report is None:
        done = dict.fromkeys(KEYS) | {"done": False, "out": out}
        return Report(done, f"shard {shard[0]} of {shard[1]} is done; others are not")
    values = {"done": True, "out": out, "held_out": report["held out"]} | {key: report[key] for key in KEYS[3:]}
    return Report(values, lambda: _tell(report, click.echo))


def _tell(report: dict[str, Any], say: Callable[[str], None]) -> None:
    """What was done, in some lines."""
    rows = report["kept"] + report["abstained"]
    if report["calibrated"]:
        say(f"calibrated by {report['evaluation']}: temperature {report['temperature']:.3f}")
    else:
        say("not calibrated: no evaluation of the policy with these labels was given or found")
    if kept := report["held out"]:
        say(
            f"threshold {report['threshold']:g}: on held-out turns {kept['precision']:.1%} of {kept['turns']} right "
            f"(95 %: {kept['low']:.1%} or more), {kept['coverage']:.1%} of the turns kept"
        )
    say(f"{report['turns']} turns of {report['dialogues']} dialogues; abstained from {report['abstained']} of {rows}")
    say(f"written: {report['output']['name']}, and {report['output']['name']}.annotation.json")
