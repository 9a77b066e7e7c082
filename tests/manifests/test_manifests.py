"""The manifests, offline: clean as they are, and every planted error is seen. `make manifests` adds the policy scan."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manifests import check, dev_secrets
from manifests.objects import build, name_of, pods
from pipelines import forms
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not check.SCHEMAS.is_dir(), reason="no CRD schemas: set SELFEMO_SCHEMAS")

Plant = Callable[[Path], None]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of the manifests, with secrets of its own."""
    ignore = shutil.ignore_patterns("secrets-*", "__pycache__")
    copy = Path(shutil.copytree(ROOT / "manifests", tmp_path / "manifests", ignore=ignore))
    secrets = copy / "components" / "dev-secrets" / "secrets"
    shutil.rmtree(secrets, ignore_errors=True)
    assert dev_secrets.write(secrets)
    return copy


def test_all_of_it_is_clean_and_the_pipelines_have_not_drifted(place: Path) -> None:
    assert check.check(place) == []


def edit(file: str, old: str, new: str) -> Plant:
    def plant(place: Path) -> None:
        text = (place / file).read_text()
        assert old in text, f"{file} has no {old!r}"
        (place / file).write_text(text.replace(old, new, 1))

    return plant


MLFLOW, KSERVE = "base/mlflow/server.yaml", "components/serving-kserve/inference.yaml"
PLANTED: dict[str, tuple[Plant, str]] = {
    "a field that core schemas do not know": (edit(MLFLOW, "replicas: 2", "replicsa: 2"), "replicsa"),
    "a value of another type": (edit(MLFLOW, "containerPort: 5000", "containerPort: http"), "containerPort"),
    "a field that a custom resource does not know": (edit(KSERVE, "minReplicas", "minReplica"), "minReplica"),
    "a version that is not served": (edit("cluster-gpu/kueue.yaml", "v1beta2", "v1beta9"), "no schema of"),
    "a ConfigMap that nothing makes": (
        edit("base/pipelines/schedule.yaml", "name: selfemo-pipeline", "name: selfemo-pipe"),
        "names ConfigMap selfemo-pipe",
    ),
    "a Secret that nothing makes": (
        edit("base/pipelines/sync.yaml", "secretName: git-credentials", "secretName: git"),
        "names Secret git",
    ),
    "a key that a Secret lacks": (
        edit(MLFLOW, "key: MLFLOW_FLASK_SERVER_SECRET_KEY", "key: SESSION"),
        "wants SESSION of Secret mlflow",
    ),
    "an account that nothing makes": (
        edit(MLFLOW, "serviceAccountName: mlflow", "serviceAccountName: mlflw"),
        "names ServiceAccount mlflw",
    ),
    "a claim that nothing makes": (
        edit("components/postgres/postgres.yaml", "claimName: postgres", "claimName: pg"),
        "names PersistentVolumeClaim pg",
    ),
    "a priority that nothing makes": (
        edit("cluster/priority.yaml", "name: selfemo-serving", "name: serving"),
        "names PriorityClass selfemo-serving",
    ),
    "a queue without its cluster's": (
        edit("components/kueue/queue.yaml", "clusterQueue: selfemo", "clusterQueue: other"),
        "names ClusterQueue other",
    ),
    "a runtime that nothing makes": (
        edit(KSERVE, "runtime: selfemo-vllm", "runtime: vllm"),
        "names ServingRuntime vllm",
    ),
    "a selector that selects nothing": (
        edit("base/mlflow/budget.yaml", "component: mlflow", "component: mlfow"),
        "selects component mlfow",
    ),
    "a pod that gets a sidecar": (
        edit("components/values/no-sidecar.yaml", "kind: CronJob", "kind: CronJobs"),
        "CronJob/sync-registry: a pod without the label sidecar.istio.io/inject",
    ),
    "a training pod that gets a sidecar": (
        edit("cluster-gpu/runtime.yaml", 'sidecar.istio.io/inject: "false"', 'sidecar.istio.io/inject: "true"'),
        "ClusterTrainingRuntime/selfemo-torch: a pod without the label",
    ),
    "a disk without a bound": (
        edit("base/pipelines/sync.yaml", "sizeLimit: 5Gi", "medium: ''"),
        "CronJob/sync-registry: volume tmp has no sizeLimit",
    ),
    "an account that pulls without the login": (
        edit(
            "overlays/prod/kustomization.yaml", "components:\n", "components:\n  - ../../components/image-pull-secret\n"
        ),
        "ServiceAccount/selfemo-resubmit: has no imagePullSecrets, and others have: list image-pull-secret last",
    ),
    "an image without a digest": (
        edit("overlays/prod/values.yaml", f"@sha256:{'0' * 64}", ":v1"),
        "is not named by digest",
    ),
    "an image without a version": (
        edit("components/postgres/postgres.yaml", "postgres:17.6", "postgres"),
        "has no version",
    ),
    "a pipeline that has drifted": (
        edit("overlays/dev/form.yaml", "retryPolicy", "retriesPolicy"),
        "dev/form.yaml: drifted",
    ),
    "a setting that was not compiled": (
        edit("overlays/dev/settings.yaml", "samples: 200", "samples: 201"),
        "dev/config.yaml: drifted",
    ),
    "a configuration that is none": (
        edit("overlays/dev/settings.yaml", "profile: cpu", "profile: moon"),
        "dev/config.yaml: ",
    ),
    "a value that is written nowhere": (
        edit("components/values/replacements.yaml", "- select: {kind: CronJob}", "- select: {kind: CronJobs}"),
        "CronJob/sync-registry: a value is left unset",
    ),
    "a value that is missing": (edit("overlays/prod/values.yaml", "  region:", "  regoin:"), "overlays/prod: "),
    "a hook that waits for what it makes": (
        edit("base/pipelines/schedule.yaml", "hook: Sync", "hook: PostSync"),
        "Job/schedule: waits for InferenceService/self-emo",
    ),
    "a wave that waits for a later one": (
        edit("components/external-secrets/external.yaml", 'sync-wave: "-2"', 'sync-wave: "4"'),
        "which comes in a later wave",
    ),
    "a step of Flux that does not wait": (
        edit("gitops/flux-native/apply.yaml", "dependsOn:\n    - name: self-emo-pipeline", "dependsOn: []"),
        "on which self-emo-version does not depend",
    ),
    "steps of Flux that wait for each other": (
        edit(
            "gitops/flux-native/apply.yaml",
            "- name: self-emo-namespace\n  components",
            "- name: self-emo-version\n  components",
        ),
        "depends on itself",
    ),
    "a pipeline and its version at once": (
        edit("gitops/flux-native/apply.yaml", "in (namespace, pipeline, version)", "in (namespace, version)"),
        "is of self-emo-pipeline and of self-emo",
    ),
    "YAML that is untidy": (edit("components/kueue/queue.yaml", "  name: selfemo", "  name:  selfemo"), "(colons)"),
    "a kustomization that cannot be built": (
        edit("base/kustomization.yaml", "  - quota", "  - quotas"),
        "overlays/dev: ",
    ),
    "a model's reference that is gone": (edit("overlays/prod/model.yaml", "  digest:", "  digst:"), "overlays/prod: "),
}


DEV = {
    "a claim that nothing makes",
    "an image without a version",
    "a pipeline that has drifted",
    "a setting that was not compiled",
    "a configuration that is none",
    "a kustomization that cannot be built",
}
FLUX = {
    "a step of Flux that does not wait",
    "steps of Flux that wait for each other",
    "a pipeline and its version at once",
}
"""Where an error is seen; the others are in prod. Building everything for each would take minutes."""


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_error_is_seen(planted: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, said = PLANTED[planted]
    plant(place)
    if "drifted" not in said and "config.yaml" not in said:
        monkeypatch.setattr(check, "drifted", lambda overlay: iter(()))  # slow, and asked about elsewhere
    target = "overlays/dev" if planted in DEV else "gitops/flux-native" if planted in FLUX else "overlays/prod"
    findings = check.check(place, targets=[target])
    assert any(said in f for f in findings), findings


def built(name: str) -> list[dict[str, Any]]:
    return build(ROOT / "manifests" / name)


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name))


CALLS = {"create": "create", "read": "get", "get": "get", "list": "list", "delete": "delete", "patch": "patch"}
"""What the Kubernetes client calls a request, and what a role calls it."""


def called(*modules: str) -> dict[str, set[str]]:
    """What is asked of TrainJobs, pods and their logs, by the source."""
    source = "".join((ROOT / f"src/selfemo/cluster/{module}.py").read_text() for module in modules)
    found: dict[str, set[str]] = {}
    for verb, kind in re.findall(r"\.([a-z]+)_namespaced_(custom_object|pod_log|pod)\(", source):
        resource = {"custom_object": "trainjobs", "pod_log": "pods/log", "pod": "pods"}[kind]
        found.setdefault(resource, set()).add(CALLS[verb])
    return found


@pytest.mark.parametrize(
    ("role", "modules"), [("selfemo-launcher", ("launcher", "joblog")), ("selfemo-reaper", ("reaper",))]
)
def test_a_role_is_exactly_what_its_code_calls(role: str, modules: tuple[str, ...]) -> None:
    rules = {r["resources"][0]: set(r["verbs"]) for r in one(built("overlays/prod"), "Role", role)["rules"]}
    assert rules == called(*modules)


def test_no_role_takes_all_of_something() -> None:
    for role in (o for o in built("overlays/prod") if o["kind"] == "Role"):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]


def test_every_pod_is_restricted() -> None:
    for target in ("cluster-gpu", "overlays/staging", "overlays/prod"):
        for owner in built(target):
            for pod in pods(owner):
                name = name_of(owner)
                if owner["kind"] != "ServingRuntime":  # its pod's context is the InferenceService's
                    assert pod["securityContext"]["runAsNonRoot"] is True, name
                    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
                containers = [c for c in [*pod["containers"], *pod.get("initContainers", [])] if "securityContext" in c]
                assert containers or "model" in pod, name
                for container in containers:
                    context = container["securityContext"]
                    assert context["readOnlyRootFilesystem"] is True, name
                    assert context["allowPrivilegeEscalation"] is False, name
                    assert context["capabilities"]["drop"] == ["ALL"], name


def test_no_secret_stands_in_the_manifests() -> None:
    files = [p for p in (ROOT / "manifests").rglob("*.yaml") if "secrets" not in p.parent.name]
    for file in files:
        for owner in forms.parse(file.read_text()):
            assert not (isinstance(owner, dict) and owner.get("kind") == "Secret"), file
    assert "manifests/components/dev-secrets/secrets/" in (ROOT / ".gitignore").read_text()


def test_secrets_of_development_are_random_kept_and_for_their_owner_alone(tmp_path: Path) -> None:
    place = tmp_path / "secrets"
    assert dev_secrets.write(place)
    before = {p.name: p.read_text() for p in place.iterdir()}
    assert not dev_secrets.write(place)
    assert {p.name: p.read_text() for p in place.iterdir()} == before
    assert all(p.stat().st_mode & 0o077 == 0 for p in [place, *place.iterdir()])
    assert dev_secrets.files()["postgres.env"] != before["postgres.env"]


def test_configurations_of_overlays_run_on_a_cluster() -> None:
    from pipelines.kubeflow import check as fit
    from selfemo import config as configuration

    for overlay in check.OVERLAYS:
        config = configuration.load(ROOT / "manifests" / "overlays" / overlay / "config.yaml")
        fit(config)
        assert config.gitops.reference == f"manifests/overlays/{overlay}/model.yaml"
