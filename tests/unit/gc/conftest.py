"""An empty store for each test of `selfemo gc`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.gc.stores import Stores


@pytest.fixture
def stores(elsewhere: Path, mlflow_file: str) -> Stores:
    return Stores(elsewhere, mlflow_file)
