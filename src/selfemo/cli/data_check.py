"""``selfemo data check``: the report that a person reads before training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from selfemo.data.dialogue import Dialogue

Loaded = tuple[list["Dialogue"], list[dict[str, str]], str]


@click.command()
@click.argument("target", required=False)
@click.option("--corpus", help="A corpus by name; default: sample.")
@click.option("--path", help="Directory of your copy; the sample corpus needs none.")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration whose corpus of that name is meant.")
@click.option("--skip-bad", is_flag=True, help="Count bad rows instead of stopping at the first.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def check(
    target: str | None, corpus: str | None, path: str | None, config: Path | None, skip_bad: bool, as_json: bool
) -> None:
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
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _print(found)


def _imported(directory: Path) -> Loaded:
    """The corpus in a directory; rows that a run refuses are counted."""
    from selfemo.data.corpora import own
    from selfemo.data.corpora.rows import Rows
    from selfemo.data.dialogue import read_jsonl
    from selfemo.data.label_file import LABELS, read_label_file
    from selfemo.errors import UserError

    file = directory / own.DIALOGUES
    if not file.is_file():
        raise UserError(
            f"no {own.DIALOGUES} here", where=str(directory), fix="make one: selfemo data import FILE... --out DIR"
        )
    rows = Rows(skip_bad=True)
    if not (directory / LABELS).is_file():  # an unlabelled corpus
        return list(read_jsonl(file)), [], ""
    space = read_label_file(directory / LABELS).space()
    return list(own.load(directory, rows, space, space.name)), rows.quarantine, ""


def _configured(name: str, config: Path | None, skip_bad: bool) -> Loaded:
    from selfemo.config import load
    from selfemo.data.corpora import load_corpus
    from selfemo.data.corpora.rows import Rows
    from selfemo.data.corpora.table import CORPORA
    from selfemo.errors import UserError

    read = load(config, ())
    corpora = {corpus.name: corpus for corpus in read.corpora}
    if name not in corpora:
        raise UserError(f"no corpus {name!r}", where=str(config), fix=f"use one of {', '.join(corpora)}")
    rows = Rows(skip_bad or corpora[name].skip_bad)
    path, space = corpora[name].path, read.spaces()[name]
    dialogues = load_corpus(name, path, rows, read.store.endpoint, None if name in CORPORA else space)
    return dialogues, rows.quarantine, CORPORA[name].terms if name in CORPORA else ""


def _named(name: str, path: str | None, skip_bad: bool) -> Loaded:
    from selfemo.cli.base import known
    from selfemo.data.corpora import load_corpus
    from selfemo.data.corpora.rows import Rows
    from selfemo.data.corpora.table import CORPORA

    rows = Rows(skip_bad)
    dialogues = load_corpus(known(name, path), path, rows)
    return dialogues, rows.quarantine, CORPORA[name].terms if name in CORPORA else ""


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from selfemo.logs import printable

    console = Console(width=None if sys.stdout.isatty() else 140)

    def text(value: object) -> Text:
        return Text(printable(str(value)))

    splits = found["splits"]
    columns = list(dict.fromkeys(name for counts in splits.values() for name in counts))
    table = Table("split", *columns)
    for split, counts in splits.items():
        table.add_row(text(split), *(str(counts[name]) for name in columns))
    console.print(table)
    if found["labels"]:
        whole = sum(sum(counts.values()) for counts in found["labels"].values())
        table = Table("label", *map(printable, splits), "share")
        for label, counts in found["labels"].items():
            share = sum(counts.values()) / whole
            table.add_row(text(label), *(str(counts[split]) for split in splits), f"{share:.1%}")
        console.print(table)
    for title in ("lengths", "duplicates", "leakage"):
        for what, value in found[title].items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            console.print(text(f"{title}: {what}: {shown}"))
    languages = ", ".join(f"{name} {count}" for name, count in list(found["languages"]["dialogues"].items())[:12])
    console.print(text(f"languages: dialogues: {languages or 'none long enough to tell'}"))
    if found["suspicious"]:
        table = Table("look at", "count", "what", "for example")
        for kind, one in found["suspicious"].items():
            table.add_row(kind, str(one["count"]), one["meaning"], text(", ".join(one["examples"][:2])))
        console.print(table)
    kinds = ", ".join(f"{count} {kind}" for kind, count in found["personal data"]["kinds"].items())
    if kinds:
        looked = found["personal data"]["turns looked at"]
        console.print(text(f"redaction would mask, in the {looked} turns looked at: {kinds}; names are not counted"))
    if found["refused"]["count"]:
        console.print(text(f"rows that a run refuses: {found['refused']['count']}; {found['refused']['examples'][0]}"))
    if found["terms"]:
        console.print(text(f"terms: {found['terms']}"))
