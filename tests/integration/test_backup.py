"""MLflow's database and the bucket, taken and put back as docs/deploy.md says: the database first, then the bucket."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from selfemo import services
from selfemo.config import Config
from selfemo.context import Context
from selfemo.registry.promotion import promote_version
from selfemo.registry.versions import CHAMPION
from tests.unit.test_gitops import version


def installation(place: Path) -> Config:
    """One with an S3 server of its own, and MLflow in a file."""
    place.mkdir(exist_ok=True)
    settings = {"workdir": str(place / "w"), "mlflow": {"tracking_uri": f"sqlite:///{place / 'mlflow.db'}"}}
    return Config.model_validate(settings)


def bucket(context: Context) -> Any:
    import boto3

    running, name = context.services, context.store.root.removeprefix("s3://").split("/")[0]
    keys = {"aws_access_key_id": running.access_key, "aws_secret_access_key": running.secret_key}
    url = running.processes["s3"].url
    return boto3.resource("s3", endpoint_url=url, region_name="us-east-1", **keys).Bucket(name)


def test_what_was_taken_while_work_went_on_is_a_whole_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow without a server puts artifacts there
    old, new = installation(tmp_path / "old"), installation(tmp_path / "new")
    taken = tmp_path / "taken"
    try:
        context = Context(old)
        first = version(context, tmp_path, "a", 0.5)
        promote_version(Context(old), first)
        champion = Context(old).policies.find(f"models:/{old.mlflow.model}@{CHAMPION}")

        with sqlite3.connect(tmp_path / "old" / "mlflow.db") as source:  # pg_dump
            source.backup(sqlite3.connect(tmp_path / "new" / "mlflow.db"))
        later = version(context, tmp_path, "b", 0.9)  # a run goes on meanwhile
        for found in bucket(context).objects.all():  # aws s3 sync
            file = taken / found.key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(found.get()["Body"].read())

        restored = Context(new)
        target = bucket(restored)
        for file in (f for f in taken.rglob("*") if f.is_file()):
            target.upload_file(str(file), str(file.relative_to(taken)))
        again = Context(new).policies.find(f"models:/{new.mlflow.model}@{CHAMPION}")
        assert (again.uri, again.digest) == (champion.uri, champion.digest)
        fetched = Context(new).store.fetch(again.uri)  # checks every hash
        assert (fetched / "model.safetensors").read_text() == "a"
        assert str(getattr(Context(new).registry.versions.alias(CHAMPION), "version", "")) == first
        # What the bucket has beyond the database does no harm: registered again, it is the next version.
        (tmp_path / "redone").mkdir()
        assert version(Context(new), tmp_path / "redone", "b", 0.9) == later
        promote_version(Context(new), later, force=True, reason="after the restore")
        assert str(getattr(Context(new).registry.versions.alias(CHAMPION), "version", "")) == later
    finally:
        for config in (old, new):
            services.stop(Path(config.workdir))
