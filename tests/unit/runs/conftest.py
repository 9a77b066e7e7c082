"""Runs for all tests that only read them: "hotter" reads more turns right than "plain", "few" is scored on others."""

from __future__ import annotations

import pytest

from selfemo.context import Context
from tests.unit.runs.made import Made


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: bytes) -> Made:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "mlflow.db").write_bytes(empty_mlflow)
    found = Made(folder, f"sqlite:///{folder / 'mlflow.db'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow without a server puts artifacts there
        first = found.run("plain", [0.5, 0.52])
        Context(first).registry.finish(Context(first).registry.parent)
        found.run("hotter", [0.5, 0.9], "selfplay.temperature=0.9")
        found.run("few", [0.5], "loop.rounds=0", "evaluation.split=test")
    return found


@pytest.fixture
def context(made: Made) -> Context:
    """What a command works with; its own run is none of these."""
    return Context(made.config("whatever"))
