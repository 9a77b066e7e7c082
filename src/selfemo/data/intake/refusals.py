"""Bad rows of what is imported: an error that names file, row and column, or a line in a file and a count."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from selfemo.errors import UserError

QUARANTINE = "quarantine.jsonl"


@dataclass
class Refusals:
    """Decides what becomes of a bad row.

    Attributes:
        out: Where rows that are left out are noted; None stops at the first.
        hide: Note no words of a row: they may be what redaction would mask.
        count: Rows left out so far.
        passed: What was left out for what it is, such as system messages, and how often.
    """

    out: Path | None = None
    hide: bool = False
    count: int = 0
    passed: dict[str, int] = field(default_factory=dict)

    def __call__(self, path: Path, row: int | str, column: str, problem: str) -> None:
        """Report a row.

        Raises:
            UserError: Unless bad rows are left out.
        """
        where = f"{path}: row {row}: column {column}"
        if self.out is None:
            raise UserError(problem, where=where, fix="mend the row, or give --skip-bad to leave such rows out")
        if self.hide:
            problem = re.sub(r"'.*'|\".*\"", "'...'", problem)
        self.count += 1
        with self.out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"where": f"{path.name}: row {row}: column {column}", "problem": problem}) + "\n")

    def passed_over(self, what: str) -> None:
        """Count something that is no turn and no fault."""
        self.passed[what] = self.passed.get(what, 0) + 1
