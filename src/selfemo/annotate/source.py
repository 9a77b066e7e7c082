"""What is to be annotated: one file, or one directory that holds a data set, and what its columns mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from selfemo.data.intake import plan as plans
from selfemo.data.intake.columns import Columns
from selfemo.data.intake.files import form_named
from selfemo.data.intake.plan import ImportPlan, Options
from selfemo.data.intake.tables import Table
from selfemo.errors import UserError

_NEEDLESS = ("label", "votes", "group", "label_of", "names")
"""What an import asks of columns, and reading turns does not: labels that are there are not looked at."""


def plan_of(paths: Sequence[Path], options: Options) -> ImportPlan:
    """How rows will be read: as an import reads them, but for labels, which may be there or not.

    Raises:
        UserError: As :func:`selfemo.data.intake.plan.make`; for a release that has no rows to add to.
    """
    plan = plans.make(paths, options)
    if any(table.source.form == "iemocap" for table in plan.tables):
        fix = "import it first, and annotate the dialogues.jsonl of that: selfemo data import"
        raise UserError("a release of IEMOCAP has no rows that could be added to", where=str(paths[0]), fix=fix)
    columns = replace(plan.columns, label=(), votes=(), group="", label_of="", names=())
    unsure = {what: flag for what, flag in plan.unsure.items() if what not in _NEEDLESS}
    return replace(plan, columns=columns, unsure=unsure, shares=None)


@dataclass(frozen=True)
class AnnotationSource:
    """One thing to annotate.

    Attributes:
        path: The file or the directory.
        plan: How it is read.
    """

    path: Path
    plan: ImportPlan

    @property
    def columns(self) -> Columns:
        """What its columns mean."""
        return self.plan.columns

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its files, in order."""
        return self.plan.tables

    def check(self, out: Path) -> None:
        """Refuse a name for the output that says another form than it will have.

        Raises:
            UserError: If it does.
        """
        form, named = self.tables[0].source.form, form_named(out)
        if self.path.is_file() and named not in (None, form) and (form, named) != ("jsonl", "json"):
            fix = f"end its name as that of {self.path.name}; for another form, convert it first or afterwards"
            raise UserError(f"it is written in the form of {self.path.name}, {form}", where=str(out), fix=fix)

    def relative(self, table: Table) -> Path:
        """A file's place in the directory; the empty path if it is the source itself."""
        return table.source.path.relative_to(self.path)

    def identity(self) -> dict[str, Any]:
        """What decides which turns are in it, and in which order."""
        files = {str(self.relative(t)): digest_of(t.source.path) for t in self.tables}
        dialects = [asdict(t.dialect) if t.dialect else t.known_encoding.name for t in self.tables]
        return {"files": files, "dialects": dialects, "columns": asdict(self.columns), "gap": self.plan.options.gap}


def files_of(path: Path) -> Iterator[Path]:
    """A file, or all files of a directory, in order."""
    yield from (p for p in sorted(path.rglob("*")) if p.is_file()) if path.is_dir() else (path,)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files of a directory."""
    found = hashlib.sha256()
    for file in files_of(path):
        with file.open("rb") as data:
            found.update(hashlib.file_digest(data, "sha256").digest())
        if file != path:
            found.update(str(file.relative_to(path)).encode())
    return found.hexdigest()
