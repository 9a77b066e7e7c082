"""The directory that an import makes: dialogues.jsonl, labels.yaml and import.json, all of it or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from selfemo.data.corpora.own import DIALOGUES
from selfemo.data.dialogue import Dialogue, write_jsonl
from selfemo.data.intake.columns import FILE
from selfemo.data.intake.naming import Naming, in_order
from selfemo.data.intake.plan import ImportPlan
from selfemo.data.intake.refusals import QUARANTINE, Refusals
from selfemo.data.intake.splits import assign
from selfemo.data.intake.staging import Staging, utterances
from selfemo.data.intake.tally import Tally, report_of
from selfemo.data.intake.turns import TurnReader
from selfemo.data.label_file import LABELS, Label, LabelFile
from selfemo.data.labels import MAX_LABELS
from selfemo.data.redaction import Redactor
from selfemo.data.scripts import fold
from selfemo.data.seeds import seed_of
from selfemo.errors import UserError
from selfemo.progress import heartbeat

IMPORT = "import.json"
_CHUNK = 500
"""Dialogues that are masked at a time."""
_LEAST_SET, _MOST_SETS = 0.01, 16
"""A set of labels is an answer of its own if that part of the labelled turns has it; and how many are at most."""
_NEUTRAL = {"neutral", "no emotion", "no_emotion"}
"""What English calls the label that stands for no emotion; in other languages, whoever imports names it."""
_ROLES = {
    "user",
    "assistant",
    "agent",
    "customer",
    "bot",
    "human",
    "gpt",
    "seeker",
    "supporter",
    "usr",
    "sys",
    "someone",
}
"""Speakers that are no names, so that redaction leaves them."""


def run(
    plan: ImportPlan, out: Path, name: str, *, skip_bad: bool, force: bool, redactor: Redactor | None
) -> dict[str, Any]:
    """Import what a plan says.

    Args:
        plan: Settled.
        out: The directory; it is not there afterwards if anything fails.
        name: Of the corpus.
        skip_bad: Note bad rows in ``quarantine.jsonl`` instead of stopping at the first.
        force: Replace an import that is there.
        redactor: What masks text; speakers are then called by number.

    Returns:
        What import.json says.

    Raises:
        UserError: For a bad row, or if nothing is left.
    """
    check_free(out, force)
    with _in_place_of(out, force) as partial:
        refusals = Refusals(partial / QUARANTINE if skip_bad else None, hide=redactor is not None)
        file = plan.labels.file
        naming = Naming(plan.columns.names, file.space() if file else None)
        tally, rows = Tally(), []
        with heartbeat("importing"), Staging(partial / "turns.sqlite") as staging:
            for number, table in enumerate(plan.tables):
                split = table.source.split if plan.columns.split == "" else None
                called = _called(plan, number)
                gap = plan.options.gap * 3600 if plan.columns.dialogue == (FILE,) and plan.columns.time else None
                reader = TurnReader(table.source.path, plan.columns, naming, refusals, called, gap)
                rows.append(0)
                for row_number, row in table.rows(refusals):
                    rows[-1] += 1
                    for turn in reader.turns(row_number, row):
                        staging.add(number, split, turn)
            if not staging.known:
                raise UserError("no turn was found", where=str(plan.tables[0].source.path), fix="see its columns")
            found = _dialogues(plan, staging, refusals, name, redactor, tally)
            write_jsonl(partial / DIALOGUES, found)
        (partial / "turns.sqlite").unlink()
        owner = plan.columns.label_of
        if owner not in ("", "first") and not sum(tally.labelled.values()):
            fix = "give the speaker whose turns the label is of, as the column has it"
            raise UserError(f"no labelled turn of {owner[:60]!r}", where="--label-of", fix=fix)
        neutral = _write_labels(partial / LABELS, plan, name, tally)
        report = report_of(plan, name, tally, rows, refusals, redactor is not None) | {"neutral": neutral}
        text = json.dumps(report, ensure_ascii=False, indent=2)
        (partial / IMPORT).write_text(text + "\n", encoding="utf-8")
    return report


def _called(plan: ImportPlan, number: int) -> str:
    """What a source's dialogues without ids are called by."""
    if len(plan.tables) == 1:
        return ""
    stem = plan.tables[number].source.path.stem
    same = [i for i, table in enumerate(plan.tables) if table.source.path.stem == stem]
    return stem if len(same) == 1 else f"{stem}~{same.index(number) + 1}"


def _dialogues(
    plan: ImportPlan, staging: Staging, refusals: Refusals, name: str, redactor: Redactor | None, tally: Tally
) -> Iterator[Dialogue]:
    where = str(plan.tables[0].source.path)
    splits = assign(staging.known, plan.shares, plan.options.seed, where)
    paths = [table.source.path for table in plan.tables]
    used: set[int] = set()
    several = len({known.apart for known in staging.known}) > 1

    def one(number: int, rows: list[list[Any]]) -> Dialogue:
        known, split = staging.known[number], splits[number]
        key = f"{known.apart}-{known.name}" if several and plan.shares else known.name
        key = str(number + 1) if redactor else key  # ids may hold what is to be masked
        identifier, again = f"{name}/{split}/{key}", 1
        while (mark := seed_of(identifier)) in used:
            again += 1
            identifier = f"{name}/{split}/{key}~{again}"
        used.add(mark)
        turns = utterances(rows, plan.columns, paths, refusals)
        return Dialogue(id=identifier, corpus=name, split=split, turns=tuple(turns))

    each = (one(number, rows) for number, rows in staging.dialogues())
    while chunk := list(islice(each, _CHUNK)):
        for dialogue in _masked(chunk, redactor, tally) if redactor else chunk:
            tally.add(dialogue)
            yield dialogue


def _masked(dialogues: list[Dialogue], redactor: Redactor, tally: Tally) -> list[Dialogue]:
    """The same with masks, and with speakers called by number."""
    flat = [(d, turn) for d in dialogues for turn in d.turns]
    people = {d.id: sorted({t.speaker for t in d.turns if not _is_role(t.speaker)}) for d in dialogues}
    masked = redactor([turn.text for _, turn in flat], [people[d.id] for d, _ in flat])
    tally.masked += masked.counts
    texts = iter(masked.texts)
    found = []
    for dialogue in dialogues:
        numbers: dict[str, str] = {}
        turns = []
        for turn in dialogue.turns:
            who = turn.speaker
            if not _is_role(who):
                who = numbers.setdefault(who, f"Speaker {len(numbers) + 1}")
            turns.append(turn.model_copy(update={"speaker": who, "text": next(texts)}))
        tally.masked["speaker"] += len(numbers)
        found.append(dialogue.model_copy(update={"turns": tuple(turns)}))
    return found


def _is_role(speaker: str) -> bool:
    return speaker.casefold() in _ROLES or len(speaker) == 1


def _write_labels(path: Path, plan: ImportPlan, name: str, tally: Tally) -> str | None:
    """The label space: as the label file has it, or what was found, the most frequent first; its neutral label."""
    import yaml

    named = plan.options.neutral
    if plan.labels.file is not None:
        if named is not None:
            raise UserError("the label file says which it is", where="--neutral", fix="write it there: neutral: LABEL")
        space = plan.labels.file.model_copy(update={"name": name})
    else:
        found = in_order(tally.labels, tally.votes)
        if not found:
            return None  # an unlabelled corpus: what is to be read in it, the configuration says
        if len(found) > MAX_LABELS:
            raise UserError(
                f"{len(found)} labels, such as {', '.join(found[-3:])}: there can be {MAX_LABELS}",
                where=f"--label {' '.join(plan.columns.label or plan.columns.votes)}",
                fix="give --labels FILE that has rare ones as aliases of others, or the right --label",
            )
        whole = sum(tally.labelled.values())
        sets = [one for one, count in tally.sets.most_common(_MOST_SETS) if count >= _LEAST_SET * whole]
        wanted = _NEUTRAL if named is None else {fold(named)}
        neutral = next((label for label in found if fold(label) in wanted), None)
        if named is not None and neutral is None:
            raise UserError(f"no label {named!r}", where="--neutral", fix=f"use one of {', '.join(found[:20])}")
        space = LabelFile(name=name, labels={label: Label() for label in found}, neutral=neutral, sets=tuple(sets))
    written = space.model_dump(mode="json", exclude_defaults=True)
    path.write_text(yaml.safe_dump(written, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return space.neutral


def check_free(out: Path, force: bool) -> None:
    """Make sure that a directory may be made.

    Raises:
        UserError: If something is there, and is not an import to be replaced.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not force:
        raise UserError("is already there", where=str(out), fix="choose another --out, or replace it with --force")
    if not (out / IMPORT).is_file():
        raise UserError("is no import", where=str(out), fix="remove it yourself, or choose another --out")


@contextmanager
def _in_place_of(out: Path, force: bool) -> Iterator[Path]:
    """A directory that takes its place when all is written, and is gone if anything fails."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    except OSError as error:
        raise UserError(str(error.strerror), where=str(out), fix="choose an --out that can be written") from None
    old = partial.with_name(partial.name + "-old")
    try:
        yield partial
        partial.chmod(0o755)
        check_free(out, force)
        if out.exists():
            out.rename(old)
        try:
            partial.rename(out)
        except OSError as error:
            if old.exists():
                old.rename(out)
            raise UserError(str(error.strerror), where=str(out), fix="choose another --out") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
