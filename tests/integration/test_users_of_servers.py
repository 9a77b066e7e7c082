"""Who may do what on a cluster's S3 and MLflow: the dev overlay's own secrets, against the real servers."""

from __future__ import annotations

import configparser
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from manifests import dev_secrets
from selfemo import config as configuration
from selfemo.cli.registry import standing
from selfemo.config import Config
from selfemo.context import Context
from selfemo.registry.promotion import promote_version, roll_back
from selfemo.registry.served import synchronise
from selfemo.registry.versions import CHAMPION
from selfemo.services.network import answers_mlflow, answers_s3, free_ports
from selfemo.steps.prepare import prepare as run_prepare
from tests import forks
from tests.conftest import there
from tests.unit.test_gitops import version

Servers = tuple[str, dict[str, str]]
"""URL of S3, and the secrets by file and key."""
Prepare = Callable[[dict[str, str]], "subprocess.CompletedProcess[str]"]


def read(files: dict[str, str]) -> dict[str, str]:
    """Every line NAME=VALUE of the secrets, as file:NAME."""
    rows = [(file, line.partition("=")) for file, text in files.items() for line in text.splitlines()]
    return {f"{file}:{name}": value for file, (name, _, value) in rows if file.endswith(".env")}


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(60)


def until(answers: Callable[[], bool], log: Path) -> None:
    for _ in range(240):
        if answers():
            return
        time.sleep(0.5)
    pytest.fail(log.read_text()[-2000:])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def store(place: Path) -> Iterator[Servers]:
    files = dev_secrets.files("selfemo")
    (place / "s3.json").write_text(files["s3.json"])
    (place / "data").mkdir()
    master, volume, filer, s3 = free_ports(4)
    command = [str(Path(sys.executable).with_name("weed")), "mini", f"-dir={place / 'data'}", "-ip=127.0.0.1"]
    command += ["-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    command += [f"-s3.port={s3}", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-bucket=selfemo", f"-s3.config={place / 's3.json'}"]
    with running(command, {}, place / "s3.log"):
        url = f"http://127.0.0.1:{s3}"
        until(lambda: answers_s3(url, "selfemo"), place / "s3.log")
        yield url, {**read(files), "basic_auth.ini": files["basic_auth.ini"]}


def bucket(store: Servers, file: str) -> Any:
    import boto3

    url, secrets = store
    key, secret = secrets[f"{file}:AWS_ACCESS_KEY_ID"], secrets[f"{file}:AWS_SECRET_ACCESS_KEY"]
    return boto3.resource(
        "s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1"
    ).Bucket("selfemo")


def test_serving_reads_the_bucket_and_writes_nothing(store: Servers) -> None:
    from botocore.exceptions import ClientError

    flywheel, serving = bucket(store, "selfemo.env"), bucket(store, "serving-s3.env")
    for _ in range(60):  # the bucket is made a moment after the server answers
        with suppress(ClientError):
            flywheel.put_object(Key="weights", Body=b"1")
            break
        time.sleep(0.5)
    assert [o.key for o in serving.objects.all()] == ["weights"]
    assert serving.Object("weights").get()["Body"].read() == b"1"
    writes: tuple[Callable[[], object], ...] = (
        lambda: serving.put_object(Key="other", Body=b"2"),
        lambda: serving.put_object(Key="weights", Body=b"2"),
        lambda: serving.Object("weights").delete(),
    )
    for write in writes:
        with pytest.raises(ClientError, match="AccessDenied"):
            write()
    assert flywheel.Object("weights").get()["Body"].read() == b"1"
    flywheel.Object("weights").delete()


@pytest.fixture(scope="module")
def prepare(python: str) -> Prepare:
    """The command of MLflow's pod, given its environment."""
    return lambda env: forks.run(python, "selfemo.services.mlflow_admin", "migrate", **env)


@pytest.fixture(scope="module")
def prepared(place: Path, store: Servers, prepare: Prepare) -> dict[str, str]:
    """What MLflow's pod is told, with both databases prepared."""
    pytest.importorskip("flask_wtf", reason="MLflow's users want mlflow[auth]")
    auth = configparser.ConfigParser(interpolation=None)
    auth.read_string(store[1]["basic_auth.ini"])
    auth["mlflow"]["database_uri"] = f"sqlite:///{place / 'auth.db'}"
    with (place / "basic_auth.ini").open("w") as file:
        auth.write(file)
    secrets = store[1]
    env = {
        "MLFLOW_AUTH_CONFIG_PATH": str(place / "basic_auth.ini"),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{place / 'mlflow.db'}",
        "MLFLOW_CLIENT_USERNAME": secrets["mlflow.env:MLFLOW_CLIENT_USERNAME"],
        "MLFLOW_CLIENT_PASSWORD": secrets["mlflow.env:MLFLOW_CLIENT_PASSWORD"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets["mlflow.env:MLFLOW_FLASK_SERVER_SECRET_KEY"],
    }
    done = prepare(env)
    assert done.stdout.split("\n")[:2] == ["admin: made", "selfemo: made"], done.stderr
    return env


def test_a_password_that_is_changed_in_the_secret_is_changed(prepared: dict[str, str], prepare: Prepare) -> None:
    assert prepare(prepared).stdout == "admin: as it was\nselfemo: as it was\n"
    other = prepare({**prepared, "MLFLOW_CLIENT_PASSWORD": "another password"})
    assert other.stdout == "admin: as it was\nselfemo: password and rights set\n"
    assert prepare(prepared).stdout == "admin: as it was\nselfemo: password and rights set\n"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"MLFLOW_CLIENT_PASSWORD": "short"}, "at least 12 characters"),
        ({"MLFLOW_CLIENT_USERNAME": "admin"}, "clients would be the admin"),
        ({"MLFLOW_CLIENT_USERNAME": ""}, "not set: MLFLOW_CLIENT_USERNAME"),
        ({"MLFLOW_BACKEND_STORE_URI": "postgresql://a:hidden@127.0.0.1:1/b"}, "postgresql+psycopg2://"),
    ],
)
def test_what_cannot_be_is_said_without_a_password(
    prepared: dict[str, str], prepare: Prepare, changed: dict[str, str], said: str
) -> None:
    done = prepare({**prepared, **changed})
    assert done.returncode == 2
    assert said in done.stderr
    assert "hidden" not in done.stderr + done.stdout


@pytest.fixture(scope="module")
def mlflow_server(place: Path, prepared: dict[str, str]) -> Iterator[str]:
    """URL of an MLflow with users, as its pod serves it.

    Their passwords are kept as hashes that cost nothing: MLflow makes the real ones several times a request.
    """
    from werkzeug.security import generate_password_hash

    auth = configparser.ConfigParser(interpolation=None)
    auth.read(prepared["MLFLOW_AUTH_CONFIG_PATH"])
    users = {
        auth["mlflow"]["admin_username"]: auth["mlflow"]["admin_password"],
        prepared["MLFLOW_CLIENT_USERNAME"]: prepared["MLFLOW_CLIENT_PASSWORD"],
    }
    with closing(sqlite3.connect(place / "auth.db")) as database, database:
        for name, password in users.items():
            kept = generate_password_hash(password, "pbkdf2:sha256:1")
            changed = database.execute("UPDATE users SET password_hash = ? WHERE username = ?", (kept, name))
            assert changed.rowcount == 1
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--serve-artifacts", "--artifacts-destination", f"file://{place / 'art'}", "--app-name", "basic-auth"]
    with running(command, {**prepared, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, place / "mlflow.log"):
        until(lambda: answers_mlflow(url), place / "mlflow.log")
        yield url


@pytest.fixture
def config(store: Servers, mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A configuration that uses both servers as pods do, with the Secret `selfemo`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, store[1][f"selfemo.env:{name}"])
    places = ["store.root=s3://selfemo/x", f"store.endpoint={store[0]}", f"mlflow.tracking_uri={mlflow_server}"]
    return configuration.load(None, [*places, f"workdir={tmp_path / 'w'}"])


def test_the_first_night_and_the_reconciler_find_no_model_yet(config: Config, tmp_path: Path) -> None:
    """A model that is not there is refused with 403, as one that is somebody else's."""
    nights = {"model": "nights", "experiment": "nights"}
    first = config.model_copy(
        update={
            "mlflow": config.mlflow.model_copy(update=nights),
            "policy": config.policy.model_copy(update={"start": "models:/nights@champion"}),
        }
    )
    repository = config.gitops.model_copy(update={"repository": "https://git.example.org/platform.git"})
    other = first.mlflow.model_copy(update={"model": "earlier"})
    reconciled = Context(first.model_copy(update={"gitops": repository, "mlflow": other}))
    assert synchronise(reconciled) == "earlier has no champion: nothing to serve"
    alone = Context(first.model_copy(update={"mlflow": first.mlflow.model_copy(update={"model": "alone"})}))
    assert standing(alone, synchronise(alone)) == {
        "model": "alone",
        "champion": None,
        "canary": None,
        "said": ["Git is left alone: gitops.repository is not set"],
    }
    assert run_prepare(first).manifest.result["start"] == ""


def test_the_flywheel_does_all_it_does_as_a_user_who_is_no_admin(config: Config, tmp_path: Path) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.server.auth.client import AuthServiceClient

    context = Context(config)
    first, second = version(context, tmp_path, "a", 0.5), version(context, tmp_path, "b", 0.9)
    promote_version(Context(config), first)
    promote_version(Context(config), second, force=True, reason="a person's wish")
    roll_back(Context(config), "a person's regret")
    assert str(there(context.registry.versions.alias(CHAMPION)).version) == first
    uri = str(config.mlflow.tracking_uri)
    with pytest.raises(MlflowException, match="Permission denied"):
        AuthServiceClient(uri).create_user("somebody", "a long password")
    with pytest.raises(MlflowException, match="Permission denied"):
        mlflow.MlflowClient(uri).get_experiment("0")  # which somebody else has made
