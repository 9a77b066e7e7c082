"""``selfemo data``: corpora on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfemo.cli import complete
from selfemo.cli.base import known
from selfemo.cli.data_check import check
from selfemo.cli.data_import import import_
from selfemo.cli.output import Report, reports
from selfemo.shown import printable
from selfemo.terminal import show_table

if TYPE_CHECKING:
    from selfemo.data.dialogue import Dialogue

CORPUS = click.option(
    "--corpus", default="sample", show_default=True, help="Which corpus.", shell_complete=complete.corpora
)
PATH = click.option(
    "--path", help="Directory of your copy; the sample corpus needs none.", shell_complete=complete.directories
)


@click.group()
def data() -> None:
    """Import, check, show and prepare corpora.

    \b
    Example:
      selfemo data import tickets.csv --out support
    """


data.add_command(import_)
data.add_command(check)


def _load(corpus: str, path: str | None, skip_bad: bool) -> tuple[list[Dialogue], list[dict[str, str]]]:
    from selfemo.data.corpora import load_corpus
    from selfemo.data.corpora.rows import BadRows

    rows = BadRows(skip_bad)
    return load_corpus(known(corpus, path), path, rows), rows.quarantine


@data.command()
@CORPUS
@PATH
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory to write to.")
@click.option("--skip-bad", is_flag=True, help="Put bad rows into quarantine.jsonl instead of stopping.")
@reports("out", "splits", "quarantined")
def prepare(corpus: str, path: str | None, out: Path, skip_bad: bool) -> Report:
    """Write a corpus as JSON Lines, one file a split, all files or none.

    \b
    Example:
      selfemo data prepare --corpus meld --path ../data/meld --out data/meld
    """
    import json
    import shutil
    import tempfile

    from selfemo.data.dialogue import write_jsonl
    from selfemo.errors import UserError

    if out.exists():
        raise UserError("is already there", where=str(out), fix="remove it, or choose another --out")
    dialogues, quarantine = _load(corpus, path, skip_bad)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    except OSError as error:
        raise UserError(str(error.strerror), where=str(out), fix="choose an --out that can be written") from None
    try:
        for split in dict.fromkeys(d.split for d in dialogues):
            write_jsonl(partial / f"{split}.jsonl", [d for d in dialogues if d.split == split])
        if quarantine:
            lines = "".join(json.dumps(q, ensure_ascii=False) + "\n" for q in quarantine)
            (partial / "quarantine.jsonl").write_text(lines, encoding="utf-8")
        partial.chmod(0o755)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    splits = _counts(dialogues)
    values = {"out": out, "splits": splits, "quarantined": quarantine}
    return Report(values, lambda: _summary(splits, quarantine))


@data.command()
@CORPUS
@PATH
@click.option("--split", default="train", show_default=True, help="Which split.", shell_complete=complete.splits)
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="How many dialogues.")
@click.option("--skip", type=click.IntRange(0), default=0, show_default=True, help="How many to pass over first.")
@reports("split", "dialogues")
def show(corpus: str, path: str | None, split: str, count: int, skip: int) -> Report:
    """Print dialogues with their gold emotions.

    \b
    Example:
      selfemo data show --split dev --count 2
    """
    from selfemo.errors import UserError

    dialogues, quarantine = _load(corpus, path, skip_bad=True)
    chosen = [d for d in dialogues if d.split == split][skip : skip + count]
    if not chosen:
        splits = ", ".join(dict.fromkeys(d.split for d in dialogues))
        raise UserError(f"no dialogue {skip} in split {split!r}", where="selfemo data show", fix=f"splits: {splits}")
    _left_out(quarantine)
    rows = [dialogue.model_dump(mode="json", exclude_none=True) for dialogue in chosen]
    return Report({"split": split, "dialogues": rows}, lambda: _print(chosen))


def _print(dialogues: Sequence[Dialogue]) -> None:
    for dialogue in dialogues:
        click.secho(printable(dialogue.id), bold=True)
        for turn in dialogue.turns:
            gold = ", ".join(turn.gold) if turn.gold else "-"
            click.echo(printable(f"  {turn.speaker}: {turn.text}") + f"  [{gold}]")


def _counts(dialogues: Sequence[Dialogue]) -> dict[str, dict[str, Any]]:
    """Dialogues and turns of each split, how often each label is the first, and how many turns have several."""
    from collections import Counter

    labels = list(dict.fromkeys(u.gold[0] for d in dialogues for u in d.turns if u.gold))
    found = {}
    for split in dict.fromkeys(d.split for d in dialogues):
        turns = [u for d in dialogues if d.split == split for u in d.turns]
        counts = Counter(u.gold[0] for u in turns if u.gold)
        found[split] = {
            "dialogues": sum(d.split == split for d in dialogues),
            "utterances": len(turns),
            "labels": {label: counts[label] for label in labels},
            "several": sum(1 for u in turns if u.gold and len(u.gold) > 1),
        }
    return found


def _summary(splits: dict[str, dict[str, Any]], quarantine: list[dict[str, str]]) -> None:
    labels = list(next(iter(splits.values()))["labels"]) if splits else []
    rows = [
        (split, one["dialogues"], one["utterances"], *one["labels"].values(), one["several"])
        for split, one in splits.items()
    ]
    show_table(("split", "dialogues", "utterances", *labels, "two or more"), rows)
    _left_out(quarantine)


def _left_out(quarantine: list[dict[str, str]]) -> None:
    """Say on standard error how many rows are left out, and which is the first."""
    if quarantine:
        first = f"{quarantine[0]['where']}: {quarantine[0]['problem']}"
        click.echo(f"quarantined rows: {len(quarantine)}; the first: {printable(first)}", err=True)
