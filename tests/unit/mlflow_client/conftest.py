"""A server with faults, and a registry that talks to it by a clock of the test's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.registry.client import Registry
from selfemo.registry.mlflow_client import Client
from tests.unit.mlflow_client.faults import Server, Time


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'm.db'}"


@pytest.fixture
def server(elsewhere: Path, database: str) -> Iterator[Server]:
    made = Server(database)
    yield made
    made.stop()


@pytest.fixture
def config(request: pytest.FixtureRequest) -> Config:
    """Of a run and a model of this test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name)[:60]
    return configuration.load(None, [f"run={name}", f"mlflow.model={name}"])


@pytest.fixture
def registry(server: Server, time: Time, config: Config) -> Registry:
    made = Registry(server.uri, config)
    made.client = Client(server.uri, sleep=time.sleep, clock=time.clock)
    return made
