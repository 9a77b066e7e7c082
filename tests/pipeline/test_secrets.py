"""Secrets are used and appear nowhere: canaries are planted, everything that is written is searched.

What a run writes is searched where a run is at hand: in test_local_run.py.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.images import DEFAULT
from pipelines.compile import manifests_to
from selfemo import config as configuration

CANARIES = {
    "SELFEMO_KFP_TOKEN": "canary-kfp-token-5d1e",
    "MLFLOW_TRACKING_PASSWORD": "canary-mlflow-password-77ab",
    "MLFLOW_TRACKING_USERNAME": "canary-mlflow-user-08c1",
    "HF_TOKEN": "canary-hub-token-91f0",
    "AWS_SESSION_TOKEN": "canary-session-3c2d",
}


def contents(place: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a directory, unpacked."""
    for path in sorted(p for p in place.rglob("*") if p.is_file()):
        data = path.read_bytes()
        yield path, gzip.decompress(data) if path.suffix == ".gz" else data


def test_compiled_forms_name_secrets_and_hold_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    cluster = configuration.load(None, ["cluster.secret=s3-access", "cluster.trainer=trainjob"]).cluster
    manifests_to(tmp_path, cluster, DEFAULT)
    found = list(contents(tmp_path))
    assert len(found) == 4
    for path, data in found:
        assert b"s3-access" in data
        assert not [c for c in CANARIES.values() if c.encode() in data], path
