"""A Kubernetes API in this process (kmock), served to the official client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kmock import KubernetesEmulator, KubernetesError, ResourceInfo, Server
from kubernetes import client

from selfemo import config as configuration
from selfemo.cluster.launcher import Launcher
from selfemo.cluster.trainjob import manifest

JOBS = "trainer.kubeflow.org/v1alpha1/trainjobs"
PODS = "v1/pods"
NAME = "demo-train-1-abc"


class Versions(KubernetesEmulator):
    """A cluster that gives every change of an object a version, and refuses one of a version that is gone."""

    async def _handle(self, request: Any) -> Any:
        key = (request.resource, request.namespace, request.name)
        changes = request.method.value if key[2] and key in self.objects and not self.objects[key].deleted else ""
        if changes in ("PATCH", "DELETE"):
            given = request.data if isinstance(request.data, dict) else {}
            seen = given.get("metadata" if changes == "PATCH" else "preconditions", {}).get("resourceVersion")
            if seen not in (None, self.objects[key].raw["metadata"].get("resourceVersion")):
                raise KubernetesError(409, "Conflict", "the object has been modified")
        answer = await super()._handle(request)
        if changes == "PATCH":
            self.change(key)
        return answer

    def change(self, key: Any, **fields: Any) -> None:
        """Change an object, as a controller does."""
        version = int(self.objects[key].raw["metadata"].get("resourceVersion", "1"))
        self.objects[key].patch({"metadata": {"resourceVersion": str(version + 1)}, **fields})


class Api:
    """The served API, used from a test's thread.

    Attributes:
        server: What serves: objects and requests are looked up there, reactions are added there.
        client: Of the official package.
    """

    def __init__(self, server: Any, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.loop = server, loop
        configuration = client.Configuration(host=url)
        configuration.retries = False
        self.client = client.ApiClient(configuration)

    def say(
        self, name: str, kind: str, reason: str = "Because", status: str = "True", message: str = "as it is"
    ) -> None:
        """Give a TrainJob a condition, as its controller does."""
        condition = {"type": kind, "status": status, "reason": reason, "message": message}
        self.server.change((JOBS, "self-emo", name), status={"conditions": [condition]})

    @property
    def objects(self) -> Any:
        """What is stored."""
        return self.server.objects

    def exists(self, name: str) -> bool:
        """Whether there is such a TrainJob."""
        try:
            return not self.objects[JOBS, "self-emo", name].deleted
        except KeyError:
            return False

    def calls(self, method: str) -> list[Any]:
        """Requests of a method for TrainJobs."""
        return [r for r in self.server[method] if "trainjobs" in str(r.url)]


class Time:
    """A clock that moves only when somebody sleeps by it; what happens in the world happens then.

    Args:
        there: Whether the world's acts may begin: a controller does not act on what is not there.
    """

    def __init__(self, there: Callable[[], bool]) -> None:
        self.there, self.now = there, 0.0
        self.acts: list[Callable[[], None]] = []

    def meanwhile(self, *acts: Callable[[], None]) -> None:
        """One of these happens at each of the next sleeps."""
        self.acts += acts

    def clock(self) -> float:
        return self.now

    def goes_by(self, seconds: float) -> None:
        """Nobody looks meanwhile."""
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.goes_by(seconds)
        if self.acts and self.there():
            self.acts.pop(0)()


def collect_garbage(api: Api, name: str = NAME) -> None:
    """What Kubernetes does with a job that has owners: it goes when none of them is there any more."""
    owners = [o["name"] for o in api.objects[JOBS, "self-emo", name].raw["metadata"]["ownerReferences"]]
    there = [key[2] for key in api.objects if key[0].plural == "pods" and not api.objects[key].deleted]
    if not set(owners) & set(there):
        del api.objects[JOBS, "self-emo", name]


def kubeconfig(api: Api, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the served API the cluster that this process's kubeconfig points to."""
    file = directory / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "clusters": [{"name": "here", "cluster": {"server": api.client.configuration.host}}],
                "users": [{"name": "me", "user": {}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))


@pytest.fixture
def api() -> Iterator[Api]:
    """An empty cluster that knows TrainJobs and pods."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    ready: dict[str, Any] = {}
    over = asyncio.Event()

    async def serve() -> None:
        async with Versions() as server, Server(server) as socket:
            server.resources[JOBS] = ResourceInfo(kind="TrainJob", namespaced=True)
            server.resources[PODS] = ResourceInfo(kind="Pod", namespaced=True)
            ready.update(server=server, url=str(socket.url).rstrip("/"))
            event.set()
            await over.wait()

    event = threading.Event()
    running = asyncio.run_coroutine_threadsafe(serve(), loop)
    running.add_done_callback(lambda _: event.set())  # it ends before its time where it cannot serve
    event.wait()
    if not ready:
        running.result()
    yield Api(ready["server"], ready["url"], loop)
    loop.call_soon_threadsafe(over.set)
    running.result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def job(owner: tuple[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """A TrainJob of that name; with other variables it is one of another spec."""
    config = configuration.load(None, ["cluster.trainer=trainjob"])
    return manifest(config, NAME, "image@sha256:1", ["train"], environment=changes, owner=owner)


@pytest.fixture
def time(api: Api) -> Time:
    return Time(lambda: api.exists(NAME))


@pytest.fixture
def launcher(api: Api, time: Time) -> Launcher:
    return Launcher(api.client, poll=30, clock=time.clock, sleep=time.sleep)
