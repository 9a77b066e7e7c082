"""The loop's steps inside the images, as a cluster runs them: nobody, a read-only root, the compiled form's commands.

`make test-images` sets SELFEMO_TEST_IMAGES and builds the CPU images first. SELFEMO_BASE_IMAGE names the base, and
SELFEMO_BUILD_FLAGS what the builder needs here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfemo import __version__
from selfemo.config import Config
from selfemo.context import Context
from selfemo.steps import finished_rounds
from tests.conftest import ROOT, there

if not os.environ.get("SELFEMO_TEST_IMAGES"):
    pytest.skip("`make test-images` builds and runs images; it takes ten minutes", allow_module_level=True)
if not shutil.which("buildah") or not shutil.which("podman"):
    pytest.skip("no builder of images here: install buildah and podman", allow_module_level=True)
BASE = os.environ.get("SELFEMO_BASE_IMAGE", "")
if not BASE:
    pytest.skip("SELFEMO_BASE_IMAGE names no Python 3.11 image", allow_module_level=True)

IMAGES = {"pipeline": "pipeline", "generation": "generation-cpu", "training": "training-cpu"}
ULIMITS = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=32768:32768"]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    """Names of the images, built."""
    env = {**os.environ, "BASE_IMAGE": BASE, "BUILD_FLAGS": os.environ.get("SELFEMO_BUILD_FLAGS", "")}
    subprocess.run(
        [str(ROOT / "images" / "build.sh"), *IMAGES.values()], env=env, check=True, stdout=subprocess.DEVNULL
    )
    return {
        kind: f"localhost/selfemo/{kind}-python{'-cpu' if name.endswith('-cpu') else ''}:{__version__}"
        for kind, name in IMAGES.items()
    }


@pytest.fixture
def runtime() -> str:
    """runc, where there is one: crun wants more of the machine."""
    return "runc" if shutil.which("runc") else "crun"


def podman(runtime: str, image: str, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a container as a pod of ours runs: nobody, nothing writable but /tmp and /work, no capability."""
    return subprocess.run(
        [
            "podman",
            "run",
            "--rm",
            "--runtime",
            runtime,
            *ULIMITS,
            "--network=host",
            "--user=65532:65532",
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            *(f"--mount=type=tmpfs,destination={place},tmpfs-mode=1777" for place in ("/tmp", "/work")),
            *options,
            image,
            *command,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_ssh_runs_as_the_images_user(images: dict[str, str], runtime: str) -> None:
    """A pod's user has the name that the image gives it, and no other: podman would add one."""
    given = ("--passwd=false", "--entrypoint=ssh")
    done = podman(runtime, images["pipeline"], "-F", "none", "-G", "git.example.org", options=given)
    assert done.returncode == 0 and "user selfemo" in done.stdout, done.stderr


class Pods:
    """Runs tasks of the compiled form, each in its image, by Kubeflow's own executor."""

    def __init__(self, config: Config, images: dict[str, str], runtime: str, tiny: Path, out: Path) -> None:
        self.config, self.images, self.runtime, self.tiny, self.out = config, images, runtime, tiny, out
        self.secrets: dict[str, str] = {}
        self.spec = next(yaml.safe_load_all((ROOT / "pipelines" / "compiled" / "selfemo-5.yaml").read_text()))
        self.ran: list[str] = []

    def run(self, step: str, **given: Any) -> Json:
        """Output parameters of a step."""
        component = self.spec["components"][f"comp-{step}"]
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        kind = next(k for k in self.images if f"/{k}-" in container["image"])
        outputs = component.get("outputDefinitions", {})
        place = self.out / f"{len(self.ran)}-{step}"
        place.mkdir(parents=True)
        place.chmod(0o777)
        task = {
            "inputs": {"parameterValues": {"config": self.config.to_json(), **given}},
            "outputs": {
                "parameters": {n: {"outputFile": f"/out/{n}"} for n in outputs.get("parameters", {})},
                "artifacts": {
                    n: {"artifacts": [{"name": n, "uri": f"/out/of-{n}", "type": a["artifactType"], "metadata": {}}]}
                    for n, a in outputs.get("artifacts", {}).items()
                },
                "outputFile": "/out/outputs.json",
            },
        }
        arguments = [json.dumps(task) if a == "{{$}}" else a for a in container["args"]]
        env = {**self.secrets, "AWS_DEFAULT_REGION": "us-east-1", "OMP_NUM_THREADS": "2"}
        done = podman(
            self.runtime,
            self.images[kind],
            *container["command"][1:],
            *arguments,
            options=(
                *(f"--env={k}={v}" for k, v in env.items()),
                f"--volume={self.tiny}:/tiny:ro",
                f"--volume={place}:/out",
                f"--entrypoint={container['command'][0]}",
            ),
        )
        assert done.returncode == 0, f"{step}: {done.stderr[-3000:]}"
        self.ran.append(step)
        written = json.loads((place / "outputs.json").read_text())
        values: Json = written.get("parameterValues", {})
        return values


@pytest.fixture
def pods(small: Config, images: dict[str, str], runtime: str, tiny: Path, tmp_path: Path) -> Pods:
    for file in tiny.iterdir():
        file.chmod(0o644)  # weights are written for their owner alone
    context = Context(small)
    running = context.services
    servers = running.processes
    data = small.model_dump(mode="json") | {"run": "in-images", "workdir": "/work"}
    data["policy"]["base"] = "/tiny"
    data["store"] = {"root": context.root, "endpoint": servers["s3"].url}
    data["mlflow"]["tracking_uri"] = servers["mlflow"].url
    made = Pods(Config.model_validate(data), images, runtime, tiny, tmp_path / "out")
    made.secrets = {"AWS_ACCESS_KEY_ID": running.access_key, "AWS_SECRET_ACCESS_KEY": running.secret_key}
    return made


def test_every_step_of_the_loop_runs_in_its_image(pods: Pods, small: Config) -> None:
    prepared = pods.run("prepare", cycle="", scheduled_at="")
    data = prepared["prepared"]
    assert prepared["shards"] == [0]
    policy = pods.run("warmup", prepared=data)["Output"]

    def judged(challenger: str, number: int, **state: Any) -> Json:
        part = pods.run("evaluate", policy=challenger, prepared=data, round=number, shard=0)["Output"]
        return pods.run("decide", challenger=challenger, shards=[part], prepared=data, round=number, **state)

    state = judged(policy, 0, policy="", scores="", misses=0)
    part = pods.run("generate", policy=policy, prepared=data, round=1, shard=0)["Output"]
    samples = pods.run("filter", shards=[part], policy=policy, prepared=data, round=1)["Output"]
    challenger = pods.run("train", policy=policy, samples=samples, prepared=data, round=1)["Output"]
    assert challenger != policy
    before = {name: state[name] for name in ("policy", "scores", "misses")}
    judged(challenger, 1, **before)
    here = Context(small.model_copy(update={"run": pods.config.run}))
    assert [r.round for r in finished_rounds(here)] == [0, 1]
    assert there(here.store.manifest(challenger)).code.startswith(__version__)


def test_the_command_line_answers_in_every_image_and_torch_is_where_it_belongs(
    images: dict[str, str], runtime: str
) -> None:
    for kind, image in images.items():
        done = podman(runtime, image, "--version")
        assert done.returncode == 0, done.stderr
        assert __version__ in done.stdout
        found = podman(runtime, image, "-c", "import torch", options=("--entrypoint=python",))
        assert (found.returncode == 0) == (kind != "pipeline")


def test_mlflow_and_git_are_in_the_pipelines_image(images: dict[str, str], runtime: str) -> None:
    for command in (["mlflow", "--version"], ["git", "--version"], ["python", "-c", "import psycopg2, flask_wtf"]):
        done = podman(runtime, images["pipeline"], *command[1:], options=(f"--entrypoint={command[0]}",))
        assert done.returncode == 0, done.stderr


def test_images_say_what_they_are_and_run_as_nobody(images: dict[str, str]) -> None:
    for kind, image in images.items():
        found = subprocess.run(["podman", "inspect", image], capture_output=True, text=True, check=True).stdout
        config = json.loads(found)[0]["Config"]
        assert config["User"] == "65532:65532"
        assert config["Labels"]["org.opencontainers.image.title"] == f"self-emo {kind}"
        assert config["Labels"]["org.opencontainers.image.version"] == __version__
        history = subprocess.run(["podman", "history", "--no-trunc", image], capture_output=True, text=True, check=True)
        assert "PIP_INDEX_URL" not in history.stdout
