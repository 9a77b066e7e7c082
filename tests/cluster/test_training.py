"""A training step on a cluster, whole: TrainJob, pods, torchrun, store; kmock serves, this file is the controller."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfemo import steps
from selfemo.cluster import launcher
from selfemo.config import Config
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.services.network import free_ports
from tests import forks
from tests.cluster.conftest import Api, kubeconfig
from tests.integration.test_processes import prepared, publish, same, samples, settings


class Controller(threading.Thread):
    """Runs each TrainJob as Trainer's torch runtime does: torchrun's settings in PET_* variables, then its command."""

    def __init__(self, api: Api, work: Path, python: str) -> None:
        super().__init__(daemon=True)
        self.python = python
        self.api, self.work, self.over = api, work, threading.Event()
        self.ran: list[str] = []
        self.variables: dict[str, str] = {}
        self.said = ""

    def run(self) -> None:
        while not self.over.wait(0.05):
            for key in list(self.api.objects):
                job = self.api.objects[key]
                if key[0].plural == "trainjobs" and key[2] not in self.ran and not job.deleted:
                    self.ran.append(key[2])
                    self.node(key[2], json.loads(json.dumps(job.raw))["spec"]["trainer"])

    def node(self, name: str, trainer: dict[str, Any]) -> None:
        (port,) = free_ports(1)
        nodes = [self.pod(trainer, rank, port) for rank in range(trainer["numNodes"])]
        said = [node.communicate()[1] for node in nodes]
        self.said += "".join(said)
        if code := max(node.returncode for node in nodes):
            self.api.say(name, "Failed", "BackoffLimitExceeded", message=f"exit {code}")
        else:
            self.api.say(name, "Complete", "AllJobsCompleted")

    def pod(self, trainer: dict[str, Any], rank: int, port: int) -> subprocess.Popen[str]:
        """The pod of one node, with a disk of its own."""
        disk = self.work / f"node-{rank}"
        disk.mkdir(exist_ok=True)
        own = {e["name"]: e["value"].replace('"/work"', json.dumps(str(disk))) for e in trainer["env"]}
        launch = {
            "NNODES": trainer["numNodes"],
            "NPROC_PER_NODE": trainer["numProcPerNode"],
            "NODE_RANK": rank,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        kept = {k: os.environ[k] for k in ("PATH", "HOME", "LANG") if k in os.environ}
        env = {
            **kept,
            "PYTHONPATH": forks.CODE,
            "PYTHON_EXEC": self.python,
            "OMP_NUM_THREADS": "1",
            **own,
            **self.variables,
        }
        env |= {f"PET_{k}": str(v) for k, v in launch.items()}
        command = [self.python, *trainer["command"][1:], *trainer["args"]]
        return subprocess.Popen(
            command, env=env, cwd=disk, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )


@pytest.fixture
def controller(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str) -> Iterator[Controller]:
    """A cluster that this process's kubeconfig points to."""
    kubeconfig(api, tmp_path, monkeypatch)
    monkeypatch.setenv("SELFEMO_IMAGE_TRAINING", "selfemo/training@sha256:" + "0" * 64)
    monkeypatch.setattr(launcher, "Launcher", functools.partial(launcher.Launcher, poll=0.05))
    work = tmp_path / "pod"
    work.mkdir()
    found = Controller(api, work, python)
    found.start()
    yield found
    found.over.set()
    found.join(60)


def on_cluster(config: Config, run: str, nodes: int = 1, **launch: object) -> Config:
    data = settings(config, run, **launch).model_dump(mode="json")
    data["cluster"] |= {"trainer": "trainjob", "nodes": nodes}
    return Config.model_validate(data)


def test_a_trainjobs_pods_train_as_this_machine_would_and_publish_themselves(
    small_local: Config, tiny: Path, controller: Controller
) -> None:
    """Two nodes of one process each; several processes of one machine are test_processes.py's."""
    here = settings(small_local, "here")
    expected = json.loads(
        (
            Context(here).store.fetch(steps.train(here, str(tiny), publish(here, samples()), prepared(here), 1).uri)
            / "training.json"
        ).read_text()
    )
    config = on_cluster(small_local, "there", 2)
    uri = publish(config, samples())
    done = steps.train(config, str(tiny), uri, prepared(config), 1)
    assert controller.ran == [f"there-train-1-{done.uri.rsplit('-', 1)[1][:8]}"]
    same(json.loads((Context(config).store.fetch(done.uri) / "training.json").read_text()), expected)
    assert "2 processes train together: MULTI_CPU" in controller.said
    assert not list(controller.work.rglob("scratch/**/*.safetensors"))  # nothing is left in the pods
    assert steps.train(config, str(tiny), uri, prepared(config), 1).uri == done.uri
    assert len(controller.ran) == 1  # it is already there: no second job


def test_when_a_node_is_lost_the_next_pods_go_on_from_the_store_though_no_disk_had_all_of_the_checkpoint(
    small_local: Config, tiny: Path, controller: Controller, tmp_path: Path, python_with_deepspeed: str
) -> None:
    controller.python, controller.variables = python_with_deepspeed, dict(forks.DEEPSPEED_ON_CPU)
    strategy = "zero3"  # that deals out the weights as well
    on_cpu = small_local.cluster.model_copy(update={"environment": {"DS_ACCELERATOR": "cpu"}})
    small_local = small_local.model_copy(update={"cluster": on_cpu})
    calm = on_cluster(small_local, "calm", 2, checkpoints="store", strategy=strategy)
    undisturbed = steps.train(calm, str(tiny), publish(calm, samples()), prepared(calm), 1)
    config = on_cluster(small_local, "shaken", 2, checkpoints="store", strategy=strategy)
    uri = publish(config, samples())
    there = tmp_path / "store" / "shaken" / "checkpoints"
    controller.variables |= {"SELFEMO_TEST_DIE": str(tmp_path / "died"), "SELFEMO_TEST_DIE_AFTER": str(there)}
    with pytest.raises(UserError, match="training failed"):
        steps.train(config, str(tiny), uri, prepared(config), 1)
    for disk in controller.work.iterdir():
        shutil.rmtree(disk)
    controller.said, controller.ran = "", []
    done = steps.train(config, str(tiny), uri, prepared(config), 1)
    assert controller.said.count("checkpoint-1 is fetched from the store") == 2
    assert "training goes on from checkpoint-1" in controller.said
    store = Context(config).store
    same_files = [{n: f.sha256 for n, f in published.manifest.files.items()} for published in (done, undisturbed)]
    assert same_files[0] == same_files[1]
    assert not list(store.backend(store.root).list(store.uri("shaken", "checkpoints")))


def test_a_users_error_in_the_pods_fails_the_step_and_publishes_nothing(
    small_local: Config, tiny: Path, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Config, "check_dealt_out", lambda *_: None)  # so that the pods are the first to see it
    config = on_cluster(small_local, "odd", processes=3)  # 4 prompts a step cannot be dealt out to 3
    with pytest.raises(UserError, match="training failed: BackoffLimitExceeded"):
        steps.train(config, str(tiny), publish(config, samples()), prepared(config), 1)
    assert "4 cannot be dealt out to 3 processes" in controller.said


def test_deepspeed_on_pods_without_gpus_is_refused_before_any_starts(
    small_local: Config, tiny: Path, controller: Controller
) -> None:
    config = on_cluster(small_local, "slow", strategy="zero3")
    with pytest.raises(UserError, match=r"cluster\.pods\.train\.accelerators: zero3: the pods that train have no GPU"):
        steps.train(config, str(tiny), publish(config, samples()), prepared(config), 1)
    assert controller.ran == []


def test_training_that_publishes_nothing_is_an_error(
    small_local: Config, tiny: Path, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "node", lambda name, trainer: controller.api.say(name, "Complete"))
    config = on_cluster(small_local, "silent")
    with pytest.raises(UserError, match="published nothing"):
        steps.train(config, str(tiny), publish(config, samples()), prepared(config), 1)


def test_where_there_is_no_cluster_the_error_says_how_to_do_without(
    small_local: Config, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.setenv("SELFEMO_IMAGE_TRAINING", "image")
    config = on_cluster(small_local, "nowhere")
    with pytest.raises(UserError) as raised:
        steps.train(config, str(tiny), publish(config, samples()), prepared(config), 1)
    assert "cluster.trainer: pod" in str(raised.value)
