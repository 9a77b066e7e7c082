"""Secrets are used and appear nowhere: canaries are planted, everything that is written is searched."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.images import DEFAULT
from pipelines.compile import manifests_to
from selfemo import config as configuration
from selfemo.config import Config
from selfemo.context import Context

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


def test_a_run_leaves_no_secret_behind(small: Config, tmp_path: Path) -> None:
    config = small.model_copy(update={"run": "secrets", "loop": small.loop.model_copy(update={"rounds": 1})})
    context = Context(config)
    own = context.services  # the embedded S3 server's keys are secrets like any other
    planted = [own.secret_key, *CANARIES.values()]
    file = tmp_path / "config.yaml"
    file.write_text(config.to_json())
    # botocore would sign with a session token: the embedded server takes its own keys alone.
    env = {**os.environ, **{k: v for k, v in CANARIES.items() if not k.startswith("AWS_")}}
    command = [sys.executable, "-c", "from selfemo.cli import main; main()", "run", "--config", str(file)]
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert not [c for c in planted if c.encode() in done.stdout + done.stderr]

    copies = tmp_path / "store"
    store = context.store
    for number, uri in enumerate(store.backend(store.root).list(store.uri("secrets"))):
        copies.mkdir(exist_ok=True)
        if not uri.endswith(".safetensors"):
            store.backend(uri).download(uri, copies / f"{number}-{uri.rsplit('/', 1)[1]}")
    searched = [*contents(copies), *contents(Path(config.workdir) / "runs" / "secrets")]
    assert len(searched) > 20
    for path, data in searched:
        assert not [c for c in planted if c.encode() in data], path

    registry = context.registry
    for run in (registry.parent, *(r.info.run_id for r in registry.rounds())):
        said = str(registry.client.get_run(run).to_dictionary())
        assert not [c for c in planted if c in said]
