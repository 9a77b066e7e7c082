"""The one installation that the tests of this directory share, and its first run."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from pipelines.kubeflow import COOKIE, USER, authorities, token
from tests.backend.backend import Backend


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """The dev overlay, installed in a namespace of its own, with MLflow ready.

    ``SELFEMO_TEST_KUBECONFIG`` is an administrator's, ``SELFEMO_TEST_KFP`` the URL of Kubeflow Pipelines; who submits
    is said as for ``selfemo submit``, and ``SELFEMO_TEST_PERSON`` is their name in Kubernetes, to be given the rights.
    ``SELFEMO_TEST_VALUES`` may name a YAML file with values in place of the dev overlay's, such as images.
    ``SELFEMO_TEST_SETTINGS`` are settings of every run, such as a smaller ``policy.base`` that the images of a slow
    machine have. ``SELFEMO_TEST_KEEP`` leaves the namespace there.
    """
    kubeconfig, host = os.environ.get("SELFEMO_TEST_KUBECONFIG"), os.environ.get("SELFEMO_TEST_KFP")
    if not kubeconfig or not host:
        pytest.skip("no cluster: set SELFEMO_TEST_KUBECONFIG and SELFEMO_TEST_KFP, and run `make test-cluster`")
    given = os.environ.get("SELFEMO_TEST_VALUES")
    values: dict[str, Any] = yaml.safe_load(Path(given).read_text()) if given else {}
    values = values.get("data", values)  # a file of an overlay has them there
    bearer = token()
    who: dict[str, str | None] = {"Authorization": bearer and f"Bearer {bearer}", "Cookie": os.environ.get(COOKIE)}
    who["kubeflow-userid"] = os.environ.get(USER)
    answer = requests.get(f"{host}/apis/v2beta1/healthz", headers=who, verify=authorities() or True, timeout=60)
    answer.raise_for_status()
    kubeflow = answer.json()
    if not kubeflow.get("multi_user"):
        pytest.skip("this Kubeflow is for one user: steps would run in its own namespace, where nothing of ours is")
    place = tmp_path_factory.mktemp("backend")
    native = kubeflow.get("pipeline_store") == "kubernetes"  # the other word is database
    made = Backend(place, f"self-emo-{uuid.uuid4().hex[:6]}", kubeconfig, host, values, native)
    try:
        made.apply()
        made.ours("wait", "--for=condition=available", "deploy/mlflow", "--timeout=900s")
        made.ours("wait", "--for=condition=complete", "job/schedule", "--timeout=300s")
        yield made
    finally:
        if not os.environ.get("SELFEMO_TEST_KEEP"):
            made.remove()


@pytest.fixture(scope="session")
def first(backend: Backend) -> subprocess.CompletedProcess[str]:
    """The first run of the installation, to its end."""
    return backend.submit("first", "--wait")
