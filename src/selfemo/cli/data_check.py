"""``selfemo data check``: the report that a person reads before training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfemo.cli import complete
from selfemo.cli.output import Report, reports
from selfemo.shown import printable
from selfemo.terminal import show_table

if TYPE_CHECKING:
    from selfemo.data.dialogue import Dialogue

Loaded = tuple[list["Dialogue"], list[dict[str, str]], str]


@click.command()
@click.argument("target", required=False, shell_complete=complete.imports)
@click.option("--corpus", help="A corpus by name; default: sample.", shell_complete=complete.corpora)
@click.option(
    "--path", help="Directory of your copy; the sample corpus needs none.", shell_complete=complete.directories
)
@click.option("--config", type=click.Path(path_type=Path), help="Configuration whose corpus of that name is meant.")
@click.option("--skip-bad", is_flag=True, help="Count bad rows instead of stopping at the first.")
@reports(
    "splits",
    "labels",
    "lengths",
    "duplicates",
    "leakage",
    "languages",
    "suspicious",
    "personal data",
    "refused",
    "terms",
)
def check(target: str | None, corpus: str | None, path: str | None, config: Path | None, skip_bad: bool) -> Report:
    """Report on a corpus: counts, labels, duplicates, leakage, languages, lengths, and what looks wrong.

    TARGET is the directory of an import, or the name of a corpus of the configuration.

    \b
    Examples:
      selfemo data check support
      selfemo data check meld --config configs/meld-smollm2.yaml
      selfemo data check --corpus emorynlp --path ../data/emorynlp --skip-bad
    """
    from selfemo.errors import UserError
    from selfemo.report.corpus import report

    if target and (corpus or path):
        raise UserError("goes without --corpus and --path", where="TARGET", fix="name the corpus once")
    if target and config is None:
        dialogues, refused, terms = _imported(Path(target))
    elif target:
        dialogues, refused, terms = _configured(target, config, skip_bad)
    else:
        dialogues, refused, terms = _named(corpus or "sample", path, skip_bad)
    found = report(dialogues, refused, terms)
    return Report(found, lambda: _print(found))


def _imported(directory: Path) -> Loaded:
    """The corpus in a directory; rows that a run refuses are counted."""
    from selfemo.data.corpora import own
    from selfemo.data.corpora.rows import BadRows
    from selfemo.data.dialogue import read_jsonl
    from selfemo.data.label_file import LABELS, read_label_file
    from selfemo.errors import UserError

    file = directory / own.DIALOGUES
    if not file.is_file():
        raise UserError(
            f"no {own.DIALOGUES} here", where=str(directory), fix="make one: selfemo data import FILE... --out DIR"
        )
    rows = BadRows(skip_bad=True)
    if not (directory / LABELS).is_file():  # an unlabelled corpus
        return list(read_jsonl(file)), [], ""
    space = read_label_file(directory / LABELS).space()
    return list(own.load(directory, rows, space, space.name)), rows.quarantine, ""


def _configured(name: str, config: Path | None, skip_bad: bool) -> Loaded:
    from selfemo.config import load
    from selfemo.data.corpora import load_corpus
    from selfemo.data.corpora.rows import BadRows
    from selfemo.data.corpora.table import CORPORA
    from selfemo.errors import UserError

    read = load(config, ())
    corpora = {corpus.name: corpus for corpus in read.corpora}
    if name not in corpora:
        raise UserError(f"no corpus {name!r}", where=str(config), fix=f"use one of {', '.join(corpora)}")
    rows = BadRows(skip_bad or corpora[name].skip_bad)
    path, space = corpora[name].path, read.spaces()[name]
    dialogues = load_corpus(name, path, rows, read.store.endpoint, None if name in CORPORA else space)
    return dialogues, rows.quarantine, CORPORA[name].terms if name in CORPORA else ""


def _named(name: str, path: str | None, skip_bad: bool) -> Loaded:
    from selfemo.cli.base import known
    from selfemo.data.corpora import load_corpus
    from selfemo.data.corpora.rows import BadRows
    from selfemo.data.corpora.table import CORPORA

    rows = BadRows(skip_bad)
    dialogues = load_corpus(known(name, path), path, rows)
    return dialogues, rows.quarantine, CORPORA[name].terms if name in CORPORA else ""


def _print(found: dict[str, Any]) -> None:
    def line(text: str) -> None:
        click.echo(printable(text))

    splits = found["splits"]
    columns = list(dict.fromkeys(name for counts in splits.values() for name in counts))
    show_table(("split", *columns), [(split, *(counts[name] for name in columns)) for split, counts in splits.items()])
    if found["labels"]:
        whole = sum(sum(counts.values()) for counts in found["labels"].values())
        rows = [
            (label, *(counts[split] for split in splits), f"{sum(counts.values()) / whole:.1%}")
            for label, counts in found["labels"].items()
        ]
        show_table(("label", *splits, "share"), rows)
    for title in ("lengths", "duplicates", "leakage"):
        for what, value in found[title].items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            line(f"{title}: {what}: {shown}")
    languages = ", ".join(f"{name} {count}" for name, count in list(found["languages"]["dialogues"].items())[:12])
    line(f"languages: dialogues: {languages or 'none long enough to tell'}")
    if found["suspicious"]:
        looked_at = [
            (kind, one["count"], one["meaning"], ", ".join(one["examples"][:2]))
            for kind, one in found["suspicious"].items()
        ]
        show_table(("look at", "count", "what", "for example"), looked_at, left=("what", "for example"))
    kinds = ", ".join(f"{count} {kind}" for kind, count in found["personal data"]["kinds"].items())
    if kinds:
        looked = found["personal data"]["turns looked at"]
        line(f"redaction would mask, in the {looked} turns looked at: {kinds}; names are not counted")
    if found["refused"]["count"]:
        line(f"rows that a run refuses: {found['refused']['count']}; {found['refused']['examples'][0]}")
    if found["terms"]:
        line(f"terms: {found['terms']}")
