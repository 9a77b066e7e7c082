"""The forms that are checked in, and forms compiled with other settings of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipelines.compile import COMPILED, SIZES, compile_to
from pipelines.forms import parse
from selfemo import config as configuration


@pytest.fixture(scope="session", params=SIZES)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = parse((COMPILED / f"selfemo-{request.param}.yaml").read_text())[0]
    return found


@pytest.fixture(scope="session")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """Compiles with overrides of the cluster: pipeline spec and platform spec."""

    def compiled(*overrides: str) -> list[dict[str, Any]]:
        cluster = configuration.load(None, [f"cluster.{o}" for o in overrides]).cluster
        (path,) = compile_to(tmp_path_factory.mktemp("form"), cluster, sizes=SIZES[:1])
        return parse(path.read_text())

    return compiled
