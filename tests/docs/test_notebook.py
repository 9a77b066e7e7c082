"""docs/method-computed.ipynb is executed anew, cell by cell, and comes to what it shows."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest

from tests.docs.pages import DOCS

NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_the_outputs_that_are_kept_are_those_of_the_code(file: Any) -> None:
    cells = [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in cells:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("".join(cell["source"]), str(file), "exec"), names)
        kept = "".join(text for output in cell["outputs"] for text in output["text"])
        assert printed.getvalue() == kept, f"execute it anew: jupyter nbconvert --execute --inplace {file}"
    assert len(cells) >= 10
