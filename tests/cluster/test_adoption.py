"""Two launchers of one step, each a process of its own as in its pod: the first is killed hard, the second goes on."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from selfemo import config as configuration
from selfemo.cluster.trainjob import job_name
from tests import forks
from tests.cluster.conftest import JOBS, PODS, Api, collect_garbage, kubeconfig

SECONDS = 60
URI = "s3://bucket/demo/train-1-0123456789abcdef"
JOB = job_name("demo", "train", 1, "0123456789abcdef")
LAUNCHES = f"""
import functools, sys
from selfemo import logs
from selfemo.cluster import launcher
from selfemo.cluster.train import train_on_cluster
from selfemo.config import Config

launcher.Launcher = functools.partial(launcher.Launcher, poll=0.1)
with logs.step("train"):
    train_on_cluster(Config.from_json(sys.argv[1]), "train", 1, {URI!r}, [])
"""


class Pod:
    """A pod in which the step waits for its TrainJob.

    Args:
        api: Of the cluster.
        name: Of the pod; its uid is ``uid-NAME``.
        log: Where the step's log goes.
    """

    def __init__(self, api: Api, name: str, log: Path) -> None:
        self.api, self.name, self.log = api, name, log
        self.uid = f"uid-{name}"
        api.objects[PODS, "self-emo", name] = {"metadata": {"name": name, "namespace": "self-emo", "uid": self.uid}}
        config = configuration.load(None, ["cluster.trainer=trainjob"]).to_json()
        told = {"KFP_POD_NAME": name, "KFP_POD_UID": self.uid, "PYTHONPATH": forks.CODE}
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHES, config], env={**os.environ, **told}, stdout=out, stderr=out
            )

    def until(self, true: Callable[[], Any]) -> None:
        """Wait until something is so, while the step runs."""
        begun = time.monotonic()
        while not true():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() - begun < SECONDS, self.log.read_text()
            time.sleep(0.02)

    def end(self) -> int:
        return self.process.wait(SECONDS)

    def killed(self) -> None:
        """Its program is killed outright, as by a node without memory; the pod's object is still there."""
        self.process.kill()
        assert self.end() == -signal.SIGKILL

    def removed(self) -> None:
        """The pod's object goes, and what it alone owns goes with it."""
        del self.api.objects[PODS, "self-emo", self.name]
        collect_garbage(self.api, JOB)


def owners(api: Api) -> list[str]:
    return [owner["uid"] for owner in api.objects[JOBS, "self-emo", JOB].raw["metadata"]["ownerReferences"]]


@pytest.fixture
def start(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Pod]]:
    kubeconfig(api, tmp_path, monkeypatch)
    monkeypatch.setenv("SELFEMO_IMAGE_TRAINING", "selfemo/training@sha256:" + "0" * 64)
    begun: list[Pod] = []

    def one(name: str) -> Pod:
        begun.append(Pod(api, name, tmp_path / f"{name}.log"))
        return begun[-1]

    yield one
    for pod in begun:
        pod.process.kill()
        pod.end()


@pytest.fixture
def adopted(api: Api, start: Callable[[str], Pod]) -> Pod:
    """The second pod, which waits for the job that the first one left; the first is gone."""
    first = start("first")
    first.until(lambda: api.exists(JOB))
    first.killed()
    assert (api.exists(JOB), owners(api)) == (True, ["uid-first"])
    read = copy.deepcopy(api.objects[JOBS, "self-emo", JOB].raw)
    api.say(JOB, "Suspended", status="False")  # Trainer writes between the second's reading and its change
    looks = len(api.server["get"])
    api.server["get"][looks : looks + 1] << {**read, "metadata": {**read["metadata"], "resourceVersion": "1"}}
    second = start("second")
    second.until(lambda: owners(api) == ["uid-first", "uid-second"])
    second.until(lambda: f"TrainJob {JOB} is already there: adopted" in second.log.read_text())
    assert [call.data["metadata"]["resourceVersion"] for call in api.calls("patch")] == ["1", "2"]
    first.removed()
    assert api.exists(JOB)
    return second


def test_a_job_whose_launcher_was_killed_is_waited_for_by_the_next_to_its_end(api: Api, adopted: Pod) -> None:
    looks = len(api.calls("get"))
    adopted.until(lambda: len(api.calls("get")) > looks + 3)  # it waits, and does nothing else
    api.say(JOB, "Complete")
    assert adopted.end() == 0, adopted.log.read_text()
    assert [key[2] for key in api.objects if key[0].plural == "trainjobs"] == [JOB]
    assert f"TrainJob {JOB} is created" not in adopted.log.read_text()
    assert not api.calls("delete")


def test_the_end_of_an_adopted_job_is_reported_where_it_failed(api: Api, adopted: Pod) -> None:
    api.say(JOB, "Failed", "BackoffLimitExceeded", message="node-0 exited 1")
    assert adopted.end() != 0
    assert "training failed: BackoffLimitExceeded: node-0 exited 1" in adopted.log.read_text()
    assert api.exists(JOB)  # its log may still be read
    assert not api.calls("delete")


def test_terminate_removes_an_adopted_job(api: Api, adopted: Pod) -> None:
    adopted.process.send_signal(signal.SIGTERM)
    assert adopted.end() != 0
    assert not api.exists(JOB)
    assert f"TrainJob {JOB} is deleted" in adopted.log.read_text()
    assert len(api.calls("delete")) == 1


def test_an_adopted_job_goes_with_the_pod_that_adopted_it(api: Api, adopted: Pod) -> None:
    adopted.killed()
    adopted.removed()
    assert not api.exists(JOB)
