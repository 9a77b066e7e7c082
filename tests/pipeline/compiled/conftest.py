"""The forms that are checked in, and forms compiled with other settings of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pipelines.compile import COMPILED, SIZES, compile_to
from selfemo import config as configuration


@pytest.fixture(scope="session", params=SIZES)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    return next(yaml.safe_load_all((COMPILED / f"selfemo-{request.param}.yaml").read_text()))  # type: ignore[no-any-return]  # the library has no types


@pytest.fixture(scope="session")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """Compiles with overrides of the cluster: pipeline spec and platform spec."""

    def compiled(*overrides: str) -> list[dict[str, Any]]:
        cluster = configuration.load(None, [f"cluster.{o}" for o in overrides]).cluster
        path = compile_to(tmp_path_factory.mktemp("form"), cluster)[0]
        return list(yaml.safe_load_all(path.read_text()))

    return compiled
