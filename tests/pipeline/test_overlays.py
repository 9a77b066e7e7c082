"""An overlay, compiled: what Git holds is what runs, and both stores of Kubeflow's give it the same name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import forms
from pipelines.compile import COMPILED, compile_to, version_of
from pipelines.overlay import overlay_to, settings_of, values_of
from selfemo import config as configuration
from selfemo.errors import UserError
from tests.conftest import ROOT

pytestmark = pytest.mark.no_cover  # no library code, which it would only slow down

OVERLAYS = ROOT / "manifests" / "overlays"


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """A copy of the dev overlay without what is compiled."""
    there = tmp_path / "dev"
    there.mkdir()
    for name in ("values.yaml", "settings.yaml"):
        shutil.copy(OVERLAYS / "dev" / name, there)
    return there


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def documents(file: Path) -> list[dict[str, Any]]:
    return [one for one in forms.parse(file.read_text()) if one]


def test_compiling_gives_what_is_checked_in_and_each_overlay_its_own_images(tmp_path: Path) -> None:
    for name in ("dev", "staging", "dev"):
        there = Path(shutil.copytree(OVERLAYS / name, tmp_path / name, dirs_exist_ok=True))
        for written in overlay_to(there):
            assert written.read_bytes() == (OVERLAYS / name / written.relative_to(there)).read_bytes()
        values = values_of(there)
        executors = documents(there / "form.yaml")[0]["deploymentSpec"]["executors"].values()
        assert {e["container"]["image"] for e in executors} == {
            values[f"{kind}-image"] for kind in ("pipeline", "generation", "training")
        }
    assert compile_to(tmp_path)[0].read_bytes() == (COMPILED / "selfemo-5.yaml").read_bytes()  # nothing stays behind


def test_every_place_comes_from_the_values_and_the_method_from_the_settings(overlay: Path) -> None:
    edit(overlay / "values.yaml", "namespace: self-emo", "namespace: other")
    edit(overlay / "values.yaml", "store-endpoint: http://seaweedfs:8333", 'store-endpoint: ""')
    edit(overlay / "values.yaml", "bucket: selfemo", "bucket: emotions")
    edit(overlay / "values.yaml", "model: self-emo", "model: empath")
    edit(overlay / "settings.yaml", "warmup:", "corpora: [{name: meld, path: 's3://{bucket}/meld'}]\nwarmup:")
    overlay_to(overlay)
    config = configuration.load(overlay / "config.yaml")
    assert (config.cluster.namespace, config.mlflow.model) == ("other", "empath")
    assert config.policy.start == "models:/empath@champion"
    assert (config.store.root, config.store.endpoint) == ("s3://emotions/dev", None)
    assert config.corpora[0].path == "s3://emotions/meld"
    assert config.mlflow.tracking_uri == "http://mlflow:5000"  # of the same namespace, whatever it is called
    assert config.mlflow.public_uri is None  # dev's host is that of a port-forward
    assert config.warmup.dialogues == 24
    assert {o["metadata"]["namespace"] for o in documents(overlay / "native" / "pipeline.yaml")} == {"other"}


def test_links_go_to_the_gateways_host_unless_the_settings_say_where(overlay: Path) -> None:
    edit(overlay / "values.yaml", "gateway-host: mlflow.localhost", "gateway-host: mlflow.example.org")
    overlay_to(overlay)
    assert configuration.load(overlay / "config.yaml").mlflow.public_uri == "https://mlflow.example.org"
    settings = yaml.safe_load((overlay / "settings.yaml").read_text())
    settings.setdefault("mlflow", {})["public_uri"] = "http://gateway.example.org/mlflow"
    (overlay / "settings.yaml").write_text(yaml.safe_dump(settings))
    overlay_to(overlay)
    assert configuration.load(overlay / "config.yaml").mlflow.public_uri == "http://gateway.example.org/mlflow"


def test_the_proxy_of_the_values_reaches_the_steps(overlay: Path) -> None:
    edit(overlay / "values.yaml", "  bucket: selfemo\n", "  bucket: selfemo\n  proxy: http://proxy:3128\n")
    with pytest.raises(UserError, match="a proxy and no no-proxy"):
        overlay_to(overlay)
    edit(overlay / "values.yaml", "  bucket: selfemo\n", "  bucket: selfemo\n  no-proxy: 10.96.0.0/12\n")
    edit(overlay / "settings.yaml", "cluster:\n", "cluster:\n  environment: {LANG: C.UTF-8}\n")
    overlay_to(overlay)
    told = configuration.load(overlay / "config.yaml").cluster.environment
    assert (told["HTTPS_PROXY"], told["LANG"]) == ("http://proxy:3128", "C.UTF-8")
    assert {"localhost", ".svc", "10.96.0.0/12"} <= set(told["NO_PROXY"].split(","))


def test_a_version_is_named_by_what_its_form_says_not_by_its_file_or_a_comment(tmp_path: Path) -> None:
    form = COMPILED / "selfemo-5.yaml"
    (tmp_path / "form.yaml").write_bytes(form.read_bytes())
    assert version_of(tmp_path / "form.yaml") == version_of(form)
    (tmp_path / "form.yaml").write_text("# a comment\n" + form.read_text())
    assert version_of(tmp_path / "form.yaml") == version_of(form)
    (tmp_path / "form.yaml").write_text(form.read_text().replace("selfemo/training-python:0.1.0", "other:1"))
    assert version_of(tmp_path / "form.yaml") != version_of(form)
    assert version_of(tmp_path / "form.yaml").startswith("selfemo-5-")


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_both_stores_know_one_pipeline_and_one_version(name: str) -> None:
    overlay = OVERLAYS / name
    pipeline, version = documents(overlay / "native" / "pipeline.yaml")
    form = documents(overlay / "form.yaml")
    # `submit` looks a pipeline up by its display name, and a version by the name that the form gives.
    assert pipeline["metadata"]["name"] == pipeline["spec"]["displayName"] == form[0]["pipelineInfo"]["name"]
    assert version["metadata"]["name"] == version["spec"]["displayName"] == version_of(overlay / "form.yaml")
    assert [version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]] == form
    assert documents(overlay / "release.yaml")[0]["data"]["version"] == version["metadata"]["name"]


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_a_pipeline_and_its_version_stay_when_git_has_others(name: str) -> None:
    """Other rounds are a Pipeline of another name, and with the one before Kubernetes would remove its versions."""
    both = documents(OVERLAYS / name / "native" / "pipeline.yaml")
    assert [one["kind"] for one in both] == ["Pipeline", "PipelineVersion"]
    for one in both:
        noted = one["metadata"]["annotations"]
        assert noted["kustomize.toolkit.fluxcd.io/prune"] == "disabled", one["kind"]
        assert noted["argocd.argoproj.io/sync-options"] == "Prune=false", one["kind"]


def test_a_person_who_compiles_with_the_overlays_images_gets_gits_version(tmp_path: Path) -> None:
    from components.images import Images

    values = values_of(OVERLAYS / "staging")
    images = Images(values["pipeline-image"], values["generation-image"], values["training-image"])
    config = configuration.load(OVERLAYS / "staging" / "config.yaml")
    (form,) = compile_to(tmp_path, config.cluster, images, (config.loop.rounds,))
    assert version_of(form) == version_of(OVERLAYS / "staging" / "form.yaml")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("values.yaml", "cron: 0 0 3 * * *", "cron: 0 0 4 * * *"),
        ("values.yaml", "selfemo/training-python-cpu:0.1.0", "selfemo/training-python-cpu:0.2.0"),
        ("settings.yaml", "samples: 200", "samples: 201"),
    ],
)
def test_another_time_image_or_setting_is_another_schedule(overlay: Path, file: str, old: str, new: str) -> None:
    overlay_to(overlay)
    before = documents(overlay / "release.yaml")[0]["data"]["schedule"]
    overlay_to(overlay)
    assert documents(overlay / "release.yaml")[0]["data"]["schedule"] == before
    edit(overlay / file, old, new)
    overlay_to(overlay)
    assert documents(overlay / "release.yaml")[0]["data"]["schedule"] != before


def test_what_cannot_be_compiled_is_said(overlay: Path) -> None:
    values = (overlay / "values.yaml").read_text()
    edit(overlay / "values.yaml", "training-image", "trainer-image")
    with pytest.raises(UserError, match="no training-image"):
        overlay_to(overlay)
    (overlay / "values.yaml").write_text(values)
    edit(overlay / "settings.yaml", "  licence:", "  model: mine\n  licence:")
    with pytest.raises(UserError, match="model is said twice"):
        settings_of(overlay, values_of(overlay))
    (overlay / "values.yaml").unlink()
    with pytest.raises(UserError, match="no values"):
        overlay_to(overlay)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("samples: 200", "samples: many", "settings.yaml or values.yaml"),
        ("shards: 2", "shards: 64", "a cluster takes 1024"),
    ],
)
def test_an_overlay_that_would_not_run_is_refused_and_nothing_is_written(
    overlay: Path, old: str, new: str, words: str
) -> None:
    before = {f: f.read_bytes() for f in sorted(overlay.rglob("*.yaml")) if f.name != "settings.yaml"}
    edit(overlay / "settings.yaml", old, new)
    with pytest.raises(UserError) as refused:
        overlay_to(overlay)
    assert words in str(refused.value)
    assert {f: f.read_bytes() for f in before} == before


def test_a_canarys_servers_are_told_apart_by_the_overlays_namespace(tmp_path: Path) -> None:
    from pipelines.overlay import settings_of, values_of

    (tmp_path / "values.yaml").write_text((ROOT / "manifests/overlays/staging/values.yaml").read_text())
    sides = "canary: {champion: {url: http://serving}, canary: {url: http://serving-canary}}"
    (tmp_path / "settings.yaml").write_text(f"run: x\n{sides}\n")
    found = settings_of(tmp_path, {**values_of(tmp_path), "namespace": "emotions"})["canary"]
    assert found["champion"]["series"] == 'job="emotions/serving"'
    assert found["canary"]["series"] == 'job="emotions/serving-canary"'
