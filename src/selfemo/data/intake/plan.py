"""How files will be imported: guessed, to be shown and asked about before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from selfemo.data.intake import columns as roles
from selfemo.data.intake import layouts
from selfemo.data.intake.columns import FILE, NONE, ROW, Columns
from selfemo.data.intake.dialect import find_dialect
from selfemo.data.intake.files import find
from selfemo.data.intake.labels import LabelNames, read_label_names
from selfemo.data.intake.refusals import Refusals
from selfemo.data.intake.splits import Shares
from selfemo.data.intake.tables import Table, open_table
from selfemo.data.intake.turns import exploded, inherited
from selfemo.errors import UserError

SAMPLE = 300
"""Rows that guesses are made of."""
SHARES = Shares(80, 10, 10)
GAP = 8.0
"""Hours of silence after which a chat without ids of dialogues is another one."""
_SHOWN = 8
_TUPLES = ("dialogue", "label", "votes")


@dataclass(frozen=True)
class Options:
    """What flags state; None or empty is guessed."""

    text: str | None = None
    speaker: str | None = None
    dialogue: tuple[str, ...] = ()
    turn: str | None = None
    time: str | None = None
    label: tuple[str, ...] = ()
    votes: tuple[str, ...] = ()
    rater: str | None = None
    split: str | None = None
    group: str | None = None
    label_of: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    quoted: bool | None = None
    labels: Path | None = None
    neutral: str | None = None
    shares: Shares | None = None
    seed: int = 0
    gap: float = GAP


@dataclass(frozen=True)
class ImportPlan:
    """All that an import does.

    Attributes:
        tables: What is read, in order.
        columns: What its columns mean.
        labels: Names of labels, from a file.
        shares: By which splits are drawn; None: as the source states.
        unsure: What was guessed and could be otherwise, and the flag that states it.
        choices: Columns that there are.
    """

    tables: tuple[Table, ...]
    columns: Columns
    labels: LabelNames
    options: Options
    shares: Shares | None
    unsure: dict[str, str] = field(default_factory=dict)
    choices: tuple[str, ...] = ()

    def encodings(self) -> tuple[str, ...]:
        """What the first file of unsure encoding could be besides what was guessed."""
        return next((table.known_encoding.others for table in self.tables if not table.known_encoding.sure), ())


_FLAGS = {
    "encoding": "--encoding",
    "delimiter": "--delimiter",
    "header": "--header or --no-header",
    "names": "--labels",
}


def make(paths: Sequence[Path], options: Options) -> ImportPlan:
    """Guess what is not stated.

    Raises:
        UserError: If a file cannot be read, or a flag names a column that is not there.
    """
    sources = find(paths)
    unsure: dict[str, str] = {}
    tables = []
    for source in sources:
        dialect = None
        if source.form == "csv":
            dialect = find_dialect(source.path, options.encoding, options.delimiter, options.header, options.quoted)
            unsure |= {what: _FLAGS[what] for what in dialect.unsure if what != "encoding"}
        tables.append(open_table(source, dialect, options.encoding))
        if not tables[-1].known_encoding.sure:
            unsure["encoding"] = "--encoding"
    sample = _sample(tables)
    if not sample:
        for table in tables:
            list(table.rows(Refusals()))  # all rows are bad: the first says why
        raise UserError("has no rows", where=str(sources[0].path), fix="give a file that has some")
    given, certain = layouts.of_form(sources[0].form)
    if not certain:
        given, certain = layouts.recognise(sample)
    if "turns" not in certain:
        given = replace(given, turns=roles.turns_column(sample))
    own = frozenset().union(*(inherited(row, given) for row in sample))
    flat = [turn for row in sample for turn in exploded(row, given)]
    names = list(dict.fromkeys(name for row in flat for name in row if not name.startswith("@")))
    given, certain = _stated(given, certain, options, names, str(sources[0].path))
    labels = read_label_names(options.labels) if options.labels else LabelNames()
    stated = next((known for table in tables for name, known in table.names.items() if name in given.label), ())
    given = replace(given, names=labels.by_number or given.names or stated)
    columns = roles.guess(flat, given, certain, own)
    if not columns.names:
        known = next((known for table in tables for name, known in table.names.items() if name in columns.label), ())
        columns = _sure(replace(columns, names=known), "names") if known else columns
    if not columns.names and "names" in columns.unsure:
        labels = _label_names(sources[0].path)
        columns = _sure(replace(columns, names=labels.by_number), "names") if labels.by_number else columns
    if not columns.text:
        raise UserError("no column has text", where=str(sources[0].path), fix=f"give --text: {_list(names)}")
    if any(name in names for role in roles.ROLES for name in _of(options, role)):
        unsure.pop("header", None)  # whoever names a column has seen the header
    unsure |= {role: _FLAGS.get(role, f"--{role.replace('_', '-')}") for role in columns.unsure}
    shares = options.shares or (None if columns.split or len({s.split for s in sources}) > 1 else SHARES)
    return ImportPlan(tuple(tables), columns, labels, options, shares, unsure, tuple(names))


def _of(options: Options, role: str) -> tuple[str, ...]:
    value = getattr(options, role) or ()
    return value if isinstance(value, tuple) else (value,)


def _sure(columns: Columns, role: str) -> Columns:
    return replace(columns, unsure=tuple(name for name in columns.unsure if name != role))


def _sample(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The first rows; bad ones are reported when they are imported, not here."""
    rows = (row for table in tables for _, row in table.rows(lambda *_: None))
    return [row for row in islice(rows, SAMPLE) if row]


def _stated(
    given: Columns, certain: frozenset[str], options: Options, names: Sequence[str], where: str
) -> tuple[Columns, frozenset[str]]:
    """The columns that flags name, above those of a layout."""
    known = {f.name for f in fields(Columns)}
    for option in fields(Options):
        value = getattr(options, option.name)
        if option.name not in known or value in (None, (), ""):
            continue
        if option.name == "label_of":
            given, certain = replace(given, label_of=value), certain | {"label_of"}
            continue
        columns = value if isinstance(value, tuple) else (value,)
        for name in columns:
            special = (NONE, ROW, FILE) if option.name == "dialogue" else (NONE,)
            if name not in names and name not in special:
                raise UserError(
                    f"no column {name[:60]!r}", where=f"--{option.name} of {where}", fix=f"use one of {_list(names)}"
                )
        stated = tuple(name for name in columns if name != NONE)
        column: Any = stated if option.name in _TUPLES else "".join(stated)
        given = replace(given, **{option.name: column})
        certain |= {option.name}
        if option.name == "dialogue":
            given = replace(given, unique=False)
        if option.name in ("label", "votes"):  # one of them is enough
            certain |= {"label", "votes"}
    return given, certain


def _label_names(path: Path) -> LabelNames:
    """Names of labels that are numbers, from the list that GoEmotions and others have beside their files."""
    for name in ("emotions.txt", "labels.txt"):
        for folder in (path.parent, path.parent.parent):
            if (folder / name).is_file():
                return read_label_names(folder / name)
    return LabelNames()


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def check_sure(plan: ImportPlan) -> None:
    """Refuse a plan that is not sure.

    Raises:
        UserError: Names the first thing that is not sure, what was guessed, and the flag that states it.
    """
    if not plan.unsure:
        return
    what, flag = next(iter(plan.unsure.items()))
    shown = "labels are numbers, and nothing names them" if what == "names" else guessed(plan, what)
    if what == "encoding":
        shown += f", or {', '.join(plan.encodings())}"
    fix = f"give {flag}" + (f" (columns: {_list(plan.choices)})" if what in roles.ROLES else "")
    raise UserError(
        f"not sure of {what.replace('_', ' ')}{': ' + shown if shown else ''}",
        where=str(plan.tables[0].source.path),
        fix=f"{fix}, or --yes to take the guesses",
    )


def guessed(plan: ImportPlan, what: str) -> str:
    """What was guessed of something, as a flag takes it; empty if nothing was."""
    dialect = next((table.dialect for table in plan.tables if table.dialect), None)
    if what == "names":
        return ""
    if what == "encoding":
        return next(table.known_encoding.name for table in plan.tables if not table.known_encoding.sure)
    if what in ("delimiter", "header") and dialect is not None:
        return dialect.delimiter if what == "delimiter" else "yes" if dialect.header else "no"
    return ",".join(plan.columns.of(what))


def answered(options: Options, what: str, answer: str) -> Options:
    """Options with what somebody answered, as a flag takes it; unchanged if the answer states nothing."""
    if what == "names":
        return replace(options, labels=Path(answer)) if answer and answer != NONE else options
    if what == "header":
        return replace(options, header=answer.lower() in ("yes", "y", "true"))
    if what == "delimiter":
        return replace(options, delimiter="\t" if answer in ("tab", "\\t") else answer)
    value: Any = tuple(part.strip() for part in answer.split(",")) if what in _TUPLES else answer
    return replace(options, **{what: value})


def described(plan: ImportPlan) -> Iterator[tuple[str, str, bool]]:
    """What a plan says: what, how it is, and whether that is sure. For people."""
    for table in plan.tables[:_SHOWN]:
        form: str = table.source.form
        if table.dialect:
            delimiter = {"\t": "tab"}.get(table.dialect.delimiter, table.dialect.delimiter)
            quotes = "quotes" if table.dialect.quoted else "no quotes"
            header = "a header" if table.dialect.header else "no header"
            form = f"CSV, {table.known_encoding.name}, parted by {delimiter}, {quotes}, {header}"
        split = f", split {table.source.split}" if table.source.split else ""
        sure = not {"encoding", "delimiter", "header"} & plan.unsure.keys()
        yield "file", f"{table.source.path.name}: {form}{split}", sure
    if len(plan.tables) > _SHOWN:
        yield "", f"and {len(plan.tables) - _SHOWN} files more", True
    if plan.columns.layout:
        yield "layout", plan.columns.layout, True
    if plan.columns.turns:
        yield "turns", f"listed in {plan.columns.turns}", True
    for role in roles.ROLES:
        value = plan.columns.of(role)
        shown = "each row is one" if value == (ROW,) else "" if value == (FILE,) else _list(value)
        shown = shown or _absent(plan, role)
        if shown:
            yield role, shown, role not in plan.unsure
    if plan.columns.label_of:
        yield "label of", plan.columns.label_of, "label_of" not in plan.unsure
    if plan.columns.names or "names" in plan.unsure:
        yield "label names", _list(plan.columns.names) or "none: labels are numbers", "names" not in plan.unsure
    if plan.shares:
        drawn = ",".join(f"{part:g}" for part in (plan.shares.train, plan.shares.dev, plan.shares.test))
        yield "splits", f"drawn by dialogue: {drawn} of train, dev, test; seed {plan.options.seed}", True
    elif not plan.columns.split:
        yield "splits", "as the files' names say", True


def _absent(plan: ImportPlan, role: str) -> str:
    """How it goes without a column, where that needs saying."""
    if role == "dialogue" and plan.columns.dialogue == (FILE,):
        pause = f"; a silence of {plan.options.gap:g} hours begins another" if plan.columns.time else ""
        return f"each file is one{pause}"
    if role == "speaker":
        one = plan.columns.dialogue == (ROW,) or (plan.columns.unique and not plan.columns.turns)
        return "none" if one and not plan.columns.turns else "none: A and B in turns"
    return "none" if role == "label" and not plan.columns.votes else ""
