"""The compiled form: what is checked in, how large it is, what each task may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.carry.component import carry
from components.decide.component import decide
from components.images import DEFAULT, Images
from pipelines.compile import COMPILED, SIZES, compile_to, form_for, manifests_to
from pipelines.local import form_of
from pipelines.loop import judge
from pipelines.place import STEPS
from selfemo import config as configuration
from selfemo.config.cluster import TRAINER, Cluster
from selfemo.loop import LoopState
from tests.cluster.schemas import closed, schema


@pytest.fixture(scope="module", params=SIZES)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    return next(yaml.safe_load_all((COMPILED / f"selfemo-{request.param}.yaml").read_text()))  # type: ignore[no-any-return]


def test_the_checked_in_form_has_not_drifted_and_compiling_is_deterministic(tmp_path: Path) -> None:
    for path in compile_to(tmp_path):
        assert path.read_bytes() == (COMPILED / path.name).read_bytes(), "run `make compile`"


@pytest.mark.parametrize(("size", "limit"), [(5, 256), (10, 512)])
def test_forms_stay_small(size: int, limit: int) -> None:
    assert (COMPILED / f"selfemo-{size}.yaml").stat().st_size < limit * 1024


def test_the_smallest_form_with_room_is_chosen() -> None:
    assert [form_for(n).name for n in (1, 5, 6, 10)] == ["selfemo-5.yaml"] * 2 + ["selfemo-10.yaml"] * 2


def tasks(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from spec["root"]["dag"]["tasks"].items()
    for component in spec["components"].values():
        yield from component.get("dag", {}).get("tasks", {}).items()


def depth(spec: dict[str, Any], dag: dict[str, Any]) -> int:
    below = (spec["components"][t["componentRef"]["name"]].get("dag") for t in dag["tasks"].values())
    return 1 + max((depth(spec, d) for d in below if d), default=0)


def test_rounds_are_a_flat_chain(spec: dict[str, Any]) -> None:
    assert depth(spec, spec["root"]["dag"]) <= 6


def test_every_condition_is_on_an_input_parameter(spec: dict[str, Any]) -> None:
    """A condition on a task's output, or on a OneOf, is silently skipped by the local runner."""
    conditions = [t for _, t in tasks(spec) if "condition" in t.get("triggerPolicy", {})]
    assert conditions
    for task in conditions:
        text = task["triggerPolicy"]["condition"]
        assert "inputs.parameter_values['pipelinechannel--go_on']" in text
        assert set(task["inputs"]["parameters"]["pipelinechannel--go_on"]) == {"componentInputParameter"}


def executors(spec: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("exec-"): e["container"] for name, e in spec["deploymentSpec"]["executors"].items()}


def steps(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tasks that run something, by the name of their step."""
    for _, task in tasks(spec):
        component = spec["components"][task["componentRef"]["name"]]
        if "executorLabel" in component:
            yield component["executorLabel"].removeprefix("exec-"), task


def placed(form: list[dict[str, Any]]) -> dict[str, Any]:
    """What the platform spec says of each step."""
    found = form[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): what for name, what in found.items()}


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """Compiles with overrides of the cluster: pipeline spec and platform spec."""

    def compiled(*overrides: str) -> list[dict[str, Any]]:
        cluster = configuration.load(None, [f"cluster.{o}" for o in overrides]).cluster
        path = compile_to(tmp_path_factory.mktemp("form"), cluster)[0]
        return list(yaml.safe_load_all(path.read_text()))

    return compiled


def test_equal_rounds_are_in_a_form_once(spec: dict[str, Any]) -> None:
    assert set(executors(spec)) == set(STEPS)
    for half, first in (("learn", 1), ("judge", 0)):
        rounds = [t for _, t in tasks(spec) if t["componentRef"]["name"] == f"comp-selfemo-{half}"]
        numbers = [int(t["inputs"]["parameters"]["round"]["runtimeValue"]["constant"]) for t in rounds]
        assert sorted(numbers) == list(range(first, max(numbers) + 1))
        assert max(numbers) in SIZES


def test_every_task_has_its_title_and_retries_and_none_is_cached_by_kfp(spec: dict[str, Any]) -> None:
    seen = set()
    for name, task in steps(spec):
        seen.add(name)
        assert task["taskInfo"]["name"] == STEPS[name].title
        assert not task.get("cachingOptions", {}).get("enableCache"), name
        assert task.get("retryPolicy", {}).get("maxRetryCount", 0) == (0 if name == "report" else STEPS[name].retries)
        if name != "report":
            assert task["retryPolicy"]["backoffFactor"] == 2
    assert seen == set(STEPS)


def test_self_play_and_evaluation_fan_out_over_the_shards_that_prepare_counts(spec: dict[str, Any]) -> None:
    loops = [t for _, t in tasks(spec) if "parameterIterator" in t]
    assert len(loops) == 2
    for task in loops:
        items = task["parameterIterator"]["items"]["inputParameter"]
        source = task["inputs"]["parameters"][items]
        assert "shards" in str(source)
        assert all("componentInputParameter" in p for p in task["inputs"]["parameters"].values())  # see loop.py
        inside = spec["components"][task["componentRef"]["name"]]["dag"]["tasks"]
        assert set(inside) in ({"generate"}, {"evaluate"})


@pytest.mark.parametrize("profile", ["cpu", "l4", "node8"])
def test_steps_hold_what_their_profile_gives_and_light_ones_never_an_accelerator(
    forms: Callable[..., list[dict[str, Any]]], profile: str
) -> None:
    form = forms(f"profile={profile}")
    pods = configuration.load(None, [f"cluster.profile={profile}"]).cluster.pods
    for name, container in executors(form[0]).items():
        pod = getattr(pods, STEPS[name].kind)
        resources = container["resources"]
        assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"] == pod.memory
        assert resources["resourceCpuLimit"] == resources["resourceCpuRequest"] == pod.cpu
        held = resources.get("accelerator", {})
        assert int(held.get("resourceCount", 0)) == pod.accelerators
        assert STEPS[name].kind != "light" or not held
        where = placed(form)[name]
        mounts = {m["mountPath"]: m for m in where["emptyDirMounts"]}
        assert "/work" in mounts
        assert mounts.get("/dev/shm", {}).get("sizeLimit", "") == pod.shm
        assert where["activeDeadlineSeconds"] == str(pod.minutes * 60)
        assert [t["key"] for t in where.get("tolerations", [])] == [t.key for t in pod.tolerations]


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


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}


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
    assert form.name == "selfemo-10.yaml"
    assert (form.parent == COMPILED) == (trainer == "pod")  # nothing is compiled where there is no need
    assert environment(executors(next(yaml.safe_load_all(form.read_text())))["train"])[TRAINER] == trainer


def test_training_keeps_its_checkpoints_on_the_volume_and_other_steps_do_not(
    forms: Callable[..., list[dict[str, Any]]],
) -> None:
    where = placed(forms("volume=checkpoints"))
    for name, what in where.items():
        claims = [c["constant"] for c in what.get("pvcMount", [])]
        assert claims == (["checkpoints"] if STEPS[name].kind == "train" else []), name
        mounts = [m["mountPath"] for m in [*what.get("pvcMount", []), *what.get("emptyDirMounts", [])]]
        assert mounts.count("/work") == 1


def test_manifests_name_a_version_by_its_content(tmp_path: Path) -> None:
    plain, other = (configuration.load(None, o).cluster for o in ([], ["cluster.profile=l4"]))
    made = {}
    for name, cluster in (("a", plain), ("b", plain), ("c", other)):
        (tmp_path / name).mkdir()
        made[name] = manifests_to(tmp_path / name, cluster, DEFAULT)
    assert [p.read_bytes() for p in made["a"]] == [p.read_bytes() for p in made["b"]]
    versions = {}
    for name, paths in made.items():
        pipeline, version = yaml.safe_load_all(paths[1].read_text())
        assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
        assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "selfemo-5"
        assert paths[0].stat().st_size < 256 * 1024 and paths[2].stat().st_size < 512 * 1024
        for document in (pipeline, version):
            closed(schema(f"pipelines.kubeflow.org_v2beta1_{document['kind']}")).validate(document)
        versions[name] = version["metadata"]["name"]
    assert versions["a"] == versions["b"] != versions["c"]


def test_steps_run_in_their_images_and_import_the_library(spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        container = executor["container"]
        kind = name.removeprefix("exec-").split("-")[0]
        expected = {"train": "training", "warmup": "training", "generate": "generation", "evaluate": "generation"}
        assert f"selfemo/{expected.get(kind, 'pipeline')}-python" in container["image"]
        assert "pip install" not in " ".join(container["command"])


KINDS = ("pipeline", "generation", "training")
RELEASE = Images(*(f"registry.example.org/{kind}-python@sha256:{'1' * 64}" for kind in ("p", "g", "t")))


def images_in(spec: dict[str, Any]) -> dict[str, str]:
    return {name: container["image"] for name, container in executors(spec).items()}


def test_every_step_runs_in_the_image_it_is_given(tmp_path: Path) -> None:
    found = images_in(next(yaml.safe_load_all(compile_to(tmp_path, images=RELEASE)[0].read_text())))
    assert found == {
        name: {"train": RELEASE.training, "generate": RELEASE.generation, "evaluate": RELEASE.generation}.get(
            step.kind, RELEASE.pipeline
        )
        for name, step in STEPS.items()
    }


def test_images_come_from_the_environment_where_it_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFEMO_IMAGE_GENERATION", RELEASE.generation)
    monkeypatch.setenv("SELFEMO_IMAGE_TRAINING", "")
    monkeypatch.delenv("SELFEMO_IMAGE_PIPELINE", raising=False)
    assert Images.from_environment() == Images(generation=RELEASE.generation)
    with pytest.raises(FrozenInstanceError):
        DEFAULT.pipeline = "another"  # type: ignore[misc]  # that it cannot be set is the point


def test_the_checked_in_form_does_not_hang_on_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        monkeypatch.setenv(f"SELFEMO_IMAGE_{kind.upper()}", f"elsewhere/{kind}-python:9")
    assert compile_to(tmp_path)[0].read_bytes() == (COMPILED / "selfemo-5.yaml").read_bytes()


def test_the_loops_state_is_what_its_components_and_its_rounds_put_out() -> None:
    kinds = {str: "String", int: "Integer", bool: "Boolean"}
    fields = {name: kinds[kind] for name, kind in LoopState.__annotations__.items()}
    for component in (decide, carry, judge(Cluster(), DEFAULT)):
        outputs = component.component_spec.outputs
        assert {n: o.type for n, o in outputs.items() if not o.type.startswith("system.")} == fields, component.name


def test_descriptions_are_there_to_be_read(spec: dict[str, Any]) -> None:
    assert spec["pipelineInfo"]["displayName"].startswith("self-emo")
    assert spec["pipelineInfo"]["description"]
    names = {t["taskInfo"]["name"] for _, t in tasks(spec)}
    assert {
        "Prepare",
        "Warm-up",
        "Self-play",
        "Filter",
        "SELF-GRPO",
        "Evaluate",
        "Decide",
        "Report",
        "Round 1: play and learn",
        "Round 1: judge",
    } <= names
