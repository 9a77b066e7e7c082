"""The embedded servers, and the store and registry on them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from selfemo import services
from selfemo.cli import main
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.errors import CorruptArtifact, UserError
from selfemo.store.artifacts import Manifest
from selfemo.store.lock import Busy, Lost, held
from tests.conftest import race


def test_servers_start_once_and_are_found_again(small: Config, workdir: Path) -> None:
    first = Context(small).services
    assert set(first.processes) == {"s3", "mlflow"}
    again = services.ensure(workdir, ("s3", "mlflow"))
    assert again.processes == first.processes
    assert services.status(workdir).processes == first.processes


def test_their_credentials_are_for_the_owner_only_and_in_no_log(small: Config, workdir: Path) -> None:
    running = Context(small).services
    state = workdir / "services" / "state.json"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    for log in (workdir / "services").glob("*.log"):
        assert running.secret_key not in log.read_text(errors="replace")


def test_a_killed_server_is_started_again_and_has_lost_nothing(tmp_path: Path) -> None:
    elsewhere = {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"}
    config = Config(workdir=str(tmp_path / "w"), store={"root": None}, mlflow=elsewhere)
    try:
        context = Context(config)
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "a").write_text("kept")
        context.store.publish(tmp_path / "d", context.store.uri("x"), step="s")
        os.killpg(context.services.processes["s3"].pid, signal.SIGKILL)
        for process in services.status(context.workdir).processes.values():
            os.waitpid(process.pid, 0)
        fresh = Context(config)
        assert fresh.services.processes["s3"].pid != context.services.processes["s3"].pid
        assert (fresh.store.fetch(fresh.store.uri("x")) / "a").read_text() == "kept"
        assert services.stop(context.workdir) == ["s3"]
        assert services.stop(context.workdir) == []
        assert services.status(context.workdir).processes == {}
    finally:
        services.stop(tmp_path / "w")


def test_a_server_that_cannot_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weed = tmp_path / "weed"
    weed.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    weed.chmod(0o755)
    monkeypatch.setattr("selfemo.services.embedded.weed", lambda: str(weed))
    with pytest.raises(UserError, match="no space left") as error:
        services.ensure(tmp_path / "w", ("s3",))
    assert "s3.log" in str(error.value)


# The store on S3


def test_s3_of_many_writers_one_wins(small: Config, tmp_path: Path) -> None:
    store = Context(small).store
    results: list[Manifest] = []

    def write(i: int) -> None:
        directory = tmp_path / str(i)
        directory.mkdir()
        (directory / "a").write_text(str(i))
        results.append(store.publish(directory, store.uri("race"), step="s"))

    race(8, write)
    assert len({m.files_at for m in results}) == 1
    left = [u for u in store.backend(store.root).list(store.uri("race")) if not u.endswith("manifest.json")]
    assert len(left) == 1


def test_s3_changed_bytes_are_found(small: Config, tmp_path: Path) -> None:
    store = Context(small).store
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text(f"good {tmp_path}")
    manifest = store.publish(tmp_path / "d", store.uri("bits"), step="s")
    (tmp_path / "evil").write_text("evil")
    store.backend(store.root).upload(tmp_path / "evil", f"{store.uri('bits')}/{manifest.files_at}/a")
    with pytest.raises(CorruptArtifact):
        store.fetch(store.uri("bits"))
    assert store.manifest(store.uri("nothing")) is None
    assert store.manifest("s3://no-such-bucket/x") is None


def test_a_corpus_is_read_from_s3(small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(small)
    store, running = context.store, context.services
    rows = "".join(f"{n},Fine by me,Joey,joy,positive,{n // 3},{n % 3},1,1,a,b\r\n" for n in range(9))
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"
    (tmp_path / "rows").write_text(header + rows)
    for split in ("train", "dev"):
        store.backend(store.root).upload(tmp_path / "rows", store.uri("corpora", "meld", f"{split}_sent_emo.csv"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", running.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", running.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    endpoint = running.processes["s3"].url
    found = load_corpus("meld", store.uri("corpora", "meld"), BadRows(), endpoint)
    assert [d.id for d in found] == [f"meld/{split}/{n}" for split in ("train", "dev") for n in range(3)]
    with pytest.raises(UserError, match="nothing lies here"):
        load_corpus("meld", store.uri("corpora", "other"), BadRows(), endpoint)


def test_s3_a_lock_has_one_holder_and_its_age_is_told_by_the_store(small: Config) -> None:
    store = Context(small).store
    backend, uri = store.backend(store.root), store.uri("locks", "one's own #1")
    assert backend.age(uri) is None
    with held(backend, uri) as first:
        first.renew()
        age = backend.age(uri)
        assert age is not None
        assert 0 <= age < 60
        with pytest.raises(Busy), held(backend, uri):
            pass
        with held(backend, uri, seconds=0.0) as second:  # a holder that has not been heard of for long
            with pytest.raises(Lost):
                first.renew()
            second.renew()


def test_s3_what_nothing_needs_is_removed_and_the_disk_is_given_back(tmp_path: Path) -> None:
    config = Config.model_validate(
        {"workdir": str(tmp_path / "w"), "run": "gone", "mlflow": {"tracking_uri": f"sqlite:///{tmp_path / 'm.db'}"}}
    )
    context = Context(config)

    def disk() -> int:
        return sum(f.stat().st_size for f in (tmp_path / "w" / "services" / "s3").glob("*.dat"))

    try:
        store, registry = context.store, context.registry
        made = []
        for name in ("warmup-000000000000", "train-111111111111"):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "model.safetensors").write_bytes(os.urandom(20 << 20))
            made.append(store.uri("gone", "round-0", name))
            store.publish(folder, made[-1], step=name.split("-")[0])
        store.backend(made[0]).upload(tmp_path / name / "model.safetensors", f"{made[0]}/files-cut/model.safetensors")
        registry.versions.register(made[0], registry.parent, {})
        registry.finish(registry.parent)
        before = disk()
        command = [
            "gc",
            "--older-than",
            "0",
            "--set",
            f"workdir={config.workdir}",
            "--set",
            f"mlflow.tracking_uri={config.mlflow.tracking_uri}",
        ]
        assert "would remove 41.9 MB" in CliRunner().invoke(main, command).output
        assert disk() == before
        result = CliRunner().invoke(main, [*command, "--delete"])
        assert (result.exit_code, "removed 41.9 MB" in result.output) == (0, True), result.output
        assert before - disk() >= 40 << 20
        assert (store.fetch(made[0]) / "model.safetensors").stat().st_size == 20 << 20
        assert store.manifest(made[1]) is None
        assert {u.split("/")[5] for u in store.backend(store.root).list(store.uri("gone"))} == {"warmup-000000000000"}
    finally:
        services.stop(tmp_path / "w")


KILLED = """
import os, signal
from pathlib import Path
from selfemo.store.s3 import S3Backend
from selfemo.config import Config
from selfemo.context import Context

sent = 0

def die_halfway(count):
    global sent
    sent += count
    if sent > 100 << 20:
        os.kill(os.getpid(), signal.SIGKILL)

def upload(self, path, uri):
    bucket, key = self.split(uri)
    self.client.upload_file(str(path), bucket, key, Config=self.transfer, Callback=die_halfway)

S3Backend.upload = upload
Context(Config.from_json({config!r})).store.publish(Path({directory!r}), {uri!r}, step="s")
"""


def test_s3_a_client_killed_while_uploading_leaves_nothing_to_be_read(small: Config, tmp_path: Path) -> None:
    context = Context(small)
    with (tmp_path / "big").open("wb") as out:
        out.truncate(200 << 20)
    uri = context.store.uri("cut")
    code = KILLED.format(config=small.to_json(), directory=str(tmp_path), uri=uri)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert context.store.manifest(uri) is None
    assert list(context.store.backend(uri).list(uri)) == []  # not even the file it was at


SERVERS = ("alembic", "docker", "flask", "graphene", "gunicorn", "huey", "pandas", "pyarrow", "skops", "sqlalchemy")
"""What mlflow has, and its client alone, mlflow-skinny, has not."""

STEP = """
import sys
from pathlib import Path

class Without:
    def __init__(self, finder):
        self.finder, self.find_distributions = finder, getattr(finder, "find_distributions", lambda context: ())

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {servers!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
from selfemo.config import Config
from selfemo.context import Context

registry = Context(Config.from_json({config!r})).registry
run = registry.round(1)
registry.params(run, {{"loop.rounds": 1}})
registry.metrics(run, [(1, {{"loss": 0.5}})])
registry.tags(run, {{"selfemo.stopped": ""}})
registry.dataset(run, "prepared", "0" * 64, "s3://bucket/prepared", "training")
registry.artifacts(run, [Path({file!r})], "plots")
version = registry.versions.register("s3://bucket/policy", run, {{"selfemo.round": "1"}})
assert registry.versions.get(version).source == "s3://bucket/policy"
assert registry.versions.alias("nobody") is None
registry.finish(run)
"""


def test_a_step_needs_of_mlflow_its_client_alone(small: Config, tmp_path: Path) -> None:
    """The images of generation and training have no more of it."""
    config = small.model_copy(update={"run": "client"})
    registry = Context(config).registry
    (tmp_path / "curve.txt").write_text("drawn")
    code = STEP.format(servers=SERVERS, config=config.to_json(), file=str(tmp_path / "curve.txt"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = registry.client.get_run(registry.round(1))
    assert run.data.metrics["loss"] == 0.5
    assert run.info.status == "FINISHED"
    kept = registry.client.download_artifacts(run.info.run_id, "plots/curve.txt", str(tmp_path))
    assert Path(kept).read_text() == "drawn"
