"""One MLflow database for all tests of the champion, and a world of its own for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.unit.champion.world import World


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """A database, which takes MLflow seconds to make, and its client."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'm.db'}"
    return uri, mlflow.MlflowClient(tracking_uri=uri)


@pytest.fixture
def world(elsewhere: Path, database: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> World:
    return World(elsewhere, *database, monkeypatch)
