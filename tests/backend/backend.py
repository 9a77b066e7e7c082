"""A real Kubernetes with a real Kubeflow Pipelines, and an installation of ours in a namespace that comes and goes.

Everything goes through what an operator has: kubectl, kustomize, ``selfemo submit`` and Kubeflow's API.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from manifests import dev_secrets
from pipelines.kubeflow import USER, connect, listed
from pipelines.overlay import overlay_to
from selfemo import config as configuration
from selfemo.services.network import free_ports
from tests.conftest import ROOT

Json = dict[str, Any]
SMALL = [
    "loop.rounds=1",
    "warmup.dialogues=8",
    "warmup.epochs=1",
    "selfplay.episodes=4",
    "selfplay.corpus_dialogues=6",
    "flywheel.samples=6",
    "evaluation.replies=4",
]
"""One round that does everything with little to do."""


class Backend:
    """An installation of the dev overlay.

    Args:
        place: Directory for a copy of the manifests.
        namespace: That it makes.
        kubeconfig: Of a cluster's administrator.
        host: URL of Kubeflow Pipelines' API, as seen from here.
        values: In place of those of the dev overlay: images, where Kubeflow is.
        native: Whether Kubeflow keeps pipelines as custom resources.
    """

    def __init__(
        self, place: Path, namespace: str, kubeconfig: str, host: str, values: dict[str, str], native: bool
    ) -> None:
        self.namespace, self.kubeconfig, self.host = namespace, kubeconfig, host
        shutil.copytree(ROOT / "manifests", place / "manifests", ignore=shutil.ignore_patterns("secrets"))
        self.overlay = place / "manifests" / "overlays" / "dev"
        self._set("values.yaml", {"namespace": namespace, "prefix": namespace, "model": namespace, **values})
        settings = yaml.safe_load((self.overlay / "settings.yaml").read_text())
        settings.setdefault("loop", {})["rounds"] = 1
        (self.overlay / "settings.yaml").write_text(yaml.safe_dump(settings))
        dev_secrets.write(place / "manifests" / "components" / "dev-secrets" / "secrets")
        overlay_to(self.overlay)
        if native:
            file = self.overlay / "kustomization.yaml"
            whole = yaml.safe_load(file.read_text())
            whole["components"].append("native")
            file.write_text(yaml.safe_dump(whole, sort_keys=False))
        self.config = configuration.load(self.overlay / "config.yaml", [f"cluster.host={host}"])

    def _set(self, file: str, data: dict[str, str]) -> None:
        path = self.overlay / file
        whole = yaml.safe_load(path.read_text())
        whole["data"].update(data)
        path.write_text(yaml.safe_dump(whole))

    # Kubernetes

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """What a command of kubectl prints."""
        command = [str(Path(sys.executable).with_name("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}\n{done.stderr}"
        return done.stdout

    def ours(self, *arguments: str, check: bool = True) -> str:
        """The same in our namespace."""
        return self.kubectl("-n", self.namespace, *arguments, check=check)

    def read(self, *what: str) -> Json:
        """Objects of our namespace."""
        return dict(json.loads(self.ours("get", *what, "-o", "json")))

    def apply(self) -> None:
        """What docs/deploy.md says under "Apply", by hand."""
        self.kubectl("apply", "--server-side", "-k", str(self.overlay.parents[1] / "cluster"))
        self.ours("delete", "job", "schedule", "--ignore-not-found")
        self.kubectl("apply", "--server-side", "-k", str(self.overlay))
        if person := os.environ.get("SELFEMO_TEST_PERSON") or os.environ.get(USER):
            role = ["create", "rolebinding", "person", "--role=selfemo-submit", f"--user={person}"]
            self.ours(*role, check=False)

    @contextmanager
    def forwarded(self, what: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to one in the cluster."""
        (here,) = free_ports(1)
        command = [str(Path(sys.executable).with_name("kubectl")), f"--kubeconfig={self.kubeconfig}"]
        command += ["-n", self.namespace, "port-forward", what, f"{here}:{port}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield here
        finally:
            process.terminate()
            process.wait(30)

    def secret(self, name: str, key: str) -> str:
        """A value of a Secret."""
        return self.ours(
            "get", "secret", name, "-o", f"go-template={{{{index .data {json.dumps(key)} | base64decode}}}}"
        )

    def job(self, name: str, component: str, *arguments: str) -> str:
        """Run a command as the CronJob of a component does, to its end; what it prints."""
        spec = self.read("cronjob", component)["spec"]["jobTemplate"]["spec"]
        spec["template"]["spec"]["containers"][0]["args"] = list(arguments)
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        self.kubectl("-n", self.namespace, "create", "-f", "-", stdin=json.dumps(job))
        self.ours("wait", "--for=condition=complete", f"job/{name}", "--timeout=300s")
        return self.ours("logs", f"job/{name}")

    def git_server(self) -> str:
        """URL of an empty repository in the namespace, which whoever reaches it may push to; its branch is main."""
        spec = self.read("cronjob", "sync-registry")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        image = spec["containers"][0]["image"]
        pull = {"imagePullSecrets": spec["imagePullSecrets"]} if "imagePullSecrets" in spec else {}
        text = (Path(__file__).parent / "git.yaml").read_text()
        objects = list(yaml.safe_load_all(text))
        pod = next(one for one in objects if one["kind"] == "Pod")
        pod["spec"] |= pull
        pod["spec"]["containers"][0]["image"] = image
        self.kubectl("-n", self.namespace, "apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
        self.ours("wait", "--for=condition=ready", "pod/git", "--timeout=300s")
        return "git://git/repository"

    def committed(self, file: str) -> str:
        """A file of the repository's main branch."""
        return self.ours("exec", "git", "--", "git", "-C", "/srv/git/repository", "show", f"main:{file}")

    # Kubeflow

    @property
    def client(self) -> Any:
        """Kubeflow's client, as the person who submits."""
        return connect(self.config)

    def submission(self, run: str, *arguments: str) -> list[str]:
        """The command that submits a run of the overlay's pipeline."""
        command = [sys.executable, "-m", "selfemo", "submit", "--config", str(self.overlay / "config.yaml")]
        given = os.environ.get("SELFEMO_TEST_SETTINGS", "").split()
        sets = [f"cluster.host={self.host}", f"run={run}", *SMALL, *given]
        return [*command, *(part for one in sets for part in ("--set", one)), *arguments]

    def submit(self, run: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Submit a run, and give back what it told."""
        return subprocess.run(
            self.submission(run, *arguments), cwd=ROOT, check=False, capture_output=True, text=True, timeout=3000
        )

    def runs(self, name: str) -> list[Any]:
        """Runs of a name, the newest first."""
        found = listed(self.client.list_runs, "runs", namespace=self.namespace, sort_by="created_at desc")
        return [run for run in found if run.display_name == name]

    def pods(self, run: str, step: str) -> list[Json]:
        """Pods of the program of a step, those that are left, the newest first."""
        found = []
        for pod in self.read("pods", "-l", f"pipeline/runid={run}")["items"]:
            text = json.dumps(pod["spec"])
            if f'"--function_to_execute", "{step}"' in text:
                found.append(pod)
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)

    def remove(self) -> None:
        """Take everything away again, from Kubeflow first: it keeps what it was told when a namespace goes."""
        client, given = self.client, {"namespace": self.namespace}

        def gone(what: str, *ids: str) -> None:
            try:
                getattr(client, f"delete_{what}")(*ids)
            except Exception as error:  # of the client's own libraries; the rest is to go all the same
                print(f"left in Kubeflow: {what} {' '.join(ids)}: {type(error).__name__}")

        for run in list(listed(client.list_runs, "runs", **given)):
            with suppress(Exception):  # it has ended
                client.terminate_run(run.run_id)
            gone("run", run.run_id)
        for one in list(listed(client.list_recurring_runs, "recurring_runs", **given)):
            gone("recurring_run", one.recurring_run_id)
        for experiment in list(listed(client.list_experiments, "experiments", **given)):
            gone("experiment", experiment.experiment_id)
        for pipeline in list(listed(client.list_pipelines, "pipelines", **given)):
            kept = listed(client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline.pipeline_id)
            for version in list(kept):
                gone("pipeline_version", pipeline.pipeline_id, version.pipeline_version_id)
            gone("pipeline", pipeline.pipeline_id)
        self.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--timeout=300s")


def until(what: Callable[[], Any], seconds: float, why: str) -> Any:
    """Wait for something to be true, and give it back."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(3)
    raise AssertionError(f"not within {seconds:.0f} s: {why}")
