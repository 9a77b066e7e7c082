"""What each step's pod is given: resources, places, secrets, a volume, and the trainer it is made for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.compile import COMPILED
from pipelines.forms import parse
from pipelines.local import form_of
from pipelines.place import QUEUED_DAYS, STEPS
from selfemo import config as configuration
from selfemo.config.cluster import TRAINER
from tests.pipeline.compiled.forms import environment, executors, placed, steps

pytestmark = pytest.mark.no_cover  # no library code, which it would only slow down


@pytest.mark.parametrize("profile", ["cpu", "l4", "node8"])
def test_steps_hold_what_their_profile_gives_and_light_ones_never_an_accelerator(
    forms: Callable[..., list[dict[str, Any]]], profile: str
) -> None:
    form = forms(f"profile={profile}")
    pods = configuration.load(None, [f"cluster.profile={profile}"]).cluster.pods
    for name, container in executors(form[0]).items():
        pod = getattr(pods, STEPS[name].kind)
        resources = container["resources"]
        assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == (pod.cpu, pod.memory)
        assert (resources["resourceCpuRequest"], resources["resourceMemoryRequest"]) == pod.requests
        held = resources.get("accelerator", {})
        assert int(held.get("resourceCount", 0)) == pod.accelerators
        assert STEPS[name].kind != "light" or not held
        where = placed(form)[name]
        mounts = {m["mountPath"]: m for m in where["emptyDirMounts"]}
        assert mounts["/work"]["sizeLimit"] == pod.disk != ""
        assert mounts.get("/dev/shm", {}).get("sizeLimit", "") == pod.shm
        assert where["activeDeadlineSeconds"] == str(pod.minutes * 60)
        assert [t["key"] for t in where.get("tolerations", [])] == [t.key for t in pod.tolerations]


def test_a_disk_without_a_bound_may_be_asked_for(forms: Callable[..., list[dict[str, Any]]]) -> None:
    (work,) = placed(forms("pods.generate.disk=''"))["generate"]["emptyDirMounts"]
    assert (work["mountPath"], work.get("sizeLimit", "")) == ("/work", "")


def test_a_step_that_waits_in_a_queue_may_be_retried_all_the_same(forms: Callable[..., list[dict[str, Any]]]) -> None:
    """Kubeflow counts the time for retries from the first start of all: of days in a queue nothing would be left."""

    def windows(*overrides: str) -> dict[str, int]:
        tasks = dict(steps(forms(*overrides)[0]))
        return {n: int(tasks[n]["retryPolicy"]["backoffMaxDuration"].removesuffix("s")) for n in ("generate", "filter")}

    queued, other = windows("pods.generate.queue=gpus"), windows()
    assert queued["generate"] - other["generate"] == (STEPS["generate"].retries + 1) * QUEUED_DAYS * 86_400
    assert queued["filter"] == other["filter"]


def test_places_queues_and_secrets_are_named(forms: Callable[..., list[dict[str, Any]]]) -> None:
    form = forms(
        "pods.train.node_selector={pool: gpus}",
        "pods.train.queue=gpus",
        "secret=s3-access",
        "pods.train.tolerations=[{key: spot, operator: Equal, value: 'yes', effect: NoExecute}]",
    )
    where = placed(form)["train"]
    assert where["nodeSelector"]["labels"] == {"pool": "gpus"}
    assert where["podMetadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "gpus"}
    assert where["tolerations"] == [{"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoExecute"}]
    assert "nodeSelector" not in placed(form)["filter"]
    for what in placed(form).values():
        (secret,) = what["secretAsEnv"]
        assert (secret["secretName"], secret["optional"]) == ("s3-access", True)
        assert "AWS_SECRET_ACCESS_KEY" in {k["envVar"] for k in secret["keyToEnv"]}


def test_every_step_gets_a_proxy_and_the_authorities_to_trust(
    forms: Callable[..., list[dict[str, Any]]],
) -> None:
    form = forms("environment={HTTPS_PROXY: 'http://proxy:3128', NO_PROXY: '.svc'}", "ca_bundle=company-ca")
    for name, container in executors(form[0]).items():
        told = environment(container)
        assert (told["HTTPS_PROXY"], told["NO_PROXY"]) == ("http://proxy:3128", ".svc"), name
        assert told["AWS_CA_BUNDLE"] == told["REQUESTS_CA_BUNDLE"] == "/etc/selfemo-ca/ca.crt"
        (mounted,) = placed(form)[name]["configMapAsVolume"]
        assert (mounted["configMapName"], mounted["mountPath"]) == ("company-ca", "/etc/selfemo-ca")


def test_what_waits_for_a_trainjob_is_light_and_names_its_image(forms: Callable[..., list[dict[str, Any]]]) -> None:
    form = forms("profile=node8", "trainer=trainjob")
    for name in ("train", "warmup"):
        container = executors(form[0])[name]
        assert "accelerator" not in container["resources"]
        assert "pipeline" in container["image"]
        assert "training" in environment(container)["SELFEMO_IMAGE_TRAINING"]
        assert "activeDeadlineSeconds" not in placed(form)[name]  # a queue may take days: the launcher keeps the time


@pytest.mark.parametrize("trainer", ["pod", "trainjob"])
def test_training_steps_are_told_for_which_trainer_their_pods_were_made(
    forms: Callable[..., list[dict[str, Any]]], trainer: str
) -> None:
    told = {name: environment(c).get(TRAINER) for name, c in executors(forms(f"trainer={trainer}")[0]).items()}
    assert told == {name: trainer if step.kind == "train" else None for name, step in STEPS.items()}


@pytest.mark.parametrize("trainer", ["pod", "trainjob"])
def test_a_run_on_this_machine_has_a_form_for_its_trainer(tmp_path: Path, trainer: str) -> None:
    form = form_of(configuration.load(None, [f"cluster.trainer={trainer}", "loop.rounds=7"]), tmp_path)
    assert form.name == ("selfemo-7.yaml" if trainer == "trainjob" else "selfemo-10.yaml")
    assert (form.parent == COMPILED) == (trainer == "pod")  # nothing is compiled where there is no need
    assert environment(executors(parse(form.read_text())[0])["train"])[TRAINER] == trainer


def test_training_keeps_its_checkpoints_on_the_volume_and_other_steps_do_not(
    forms: Callable[..., list[dict[str, Any]]],
) -> None:
    where = placed(forms("volume=checkpoints"))
    for name, what in where.items():
        claims = [c["constant"] for c in what.get("pvcMount", [])]
        assert claims == (["checkpoints"] if STEPS[name].kind == "train" else []), name
        mounts = [m["mountPath"] for m in [*what.get("pvcMount", []), *what.get("emptyDirMounts", [])]]
        assert mounts.count("/work") == 1
