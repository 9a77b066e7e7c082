"""A corpus or a split that a configuration names and that is not there is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo.config import load as load_config
from selfemo.errors import UserError
from selfemo.steps.prepare import corpora_of
from tests.unit.corpora.meld import GOOD, write_meld


@pytest.mark.parametrize(
    ("corpus", "problem"),
    [
        ("{name: meld}", "needs a path"),
        ("{name: meld, path: /nowhere}", "no such directory"),
        ("{name: meld, path: $SELFEMO_UNSET/x}", "is not set"),
    ],
)
def test_a_corpus_that_cannot_be_found_says_what_to_set(corpus: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        corpora_of(load_config(None, [f"corpora=[{corpus}]"]))


def test_a_missing_split_is_an_error(tmp_path: Path) -> None:
    path = write_meld(tmp_path / "m", GOOD)
    settings = load_config(None, [f"corpora=[{{name: meld, path: {path}}}]", "evaluation.split=test"])
    with pytest.raises(UserError, match="meld has no test split"):
        corpora_of(settings)
