"""An overlay of the manifests, compiled: what its values and its settings make of configuration and pipeline."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from components.images import Images
from pipelines import forms
from pipelines.admission import admit
from pipelines.compile import compile_to, resources_of, version_of
from selfemo import config as configuration
from selfemo.config.reading import with_labels
from selfemo.data.yamls import NotYaml, parse
from selfemo.errors import UserError
from selfemo.places import temporary

HEAD = "# Written by `make compile` from values.yaml and settings.yaml; `make manifests` finds drift.\n"
MLFLOW = "http://mlflow:5000"
"""MLflow as pods of the same namespace find it, whatever the namespace is called."""

Json = dict[str, Any]


INSIDE = "localhost,127.0.0.1,.svc,.cluster.local,metadata-grpc-service"
"""What a step reaches without a proxy wherever it runs."""


def overlay_to(overlay: Path) -> list[Path]:
    """Write what an overlay's values and settings make.

    ``config.yaml`` is the whole configuration; ``form.yaml`` the pipeline with the overlay's images; ``native/`` the
    same as custom resources, a kustomize component; ``release.yaml`` the version's name, for kustomize. Nothing is
    compiled on the cluster: what stands here is what runs.

    Args:
        overlay: Directory with ``values.yaml`` and ``settings.yaml``.

    Returns:
        The files.

    Raises:
        UserError: If a value is missing, the configuration is none, or its run would be too large for a cluster; then
            nothing is written.
    """
    values = values_of(overlay)
    settings = with_label_files(settings_of(overlay, values), overlay)
    config = configuration.validate(settings, lambda _: f"{overlay}: settings.yaml or values.yaml")
    admit(config)
    made = {"config.yaml": HEAD + yaml.safe_dump(settings, sort_keys=False, width=1000)}
    images = Images(**{kind.name: values[f"{kind.name}-image"] for kind in fields(Images)})
    with temporary("overlay") as directory:
        (form,) = compile_to(directory, config.cluster, images, (config.loop.rounds,))
        made["form.yaml"] = HEAD + form.read_text()
        version, objects = version_of(form), resources_of(form, config.cluster.namespace)
    made["release.yaml"] = HEAD + _dump(_release(version, values["cron"], made["config.yaml"]))
    # A version comes after its Pipeline, and both stay when the next ones come: schedules and runs name versions, and
    # Kubeflow makes a Pipeline, in whose name the rounds are, the owner of its versions: they would go with it.
    waves = {"Pipeline": ("pipeline", "0"), "PipelineVersion": ("version", "1")}
    kept = {"argocd.argoproj.io/sync-options": "Prune=false", "kustomize.toolkit.fluxcd.io/prune": "disabled"}
    for one in objects:
        step, wave = waves[one["kind"]]
        one["metadata"]["labels"] = {"selfemo/step": step}
        one["metadata"]["annotations"] = {"argocd.argoproj.io/sync-wave": wave, **kept}
    made["native/pipeline.yaml"] = HEAD + forms.dump(objects)
    component = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "resources": ["pipeline.yaml"]}
    made["native/kustomization.yaml"] = HEAD + _dump(component)
    (overlay / "native").mkdir(exist_ok=True)
    for name, text in made.items():
        (overlay / name).write_text(text)
    return [overlay / name for name in made]


def values_of(overlay: Path) -> dict[str, str]:
    """What ``values.yaml`` says.

    Raises:
        UserError: If it is not there, or something is missing.
    """
    file = overlay / "values.yaml"
    if not file.is_file():
        raise UserError("no values", where=str(file), fix="write it after manifests/overlays/dev/values.yaml")
    found = _read(file)
    values = found.get("data") or {} if isinstance(found, dict) else {}
    values = values if isinstance(values, dict) else {}
    wanted = ["namespace", "kfp-host", "store-endpoint", "bucket", "prefix", "model", "cron", "repository", "reference"]
    wanted += [f"{kind.name}-image" for kind in fields(Images)]
    if missing := [name for name in wanted if not isinstance(values.get(name), str)]:
        raise UserError(f"no {', '.join(missing)}", where=str(file), fix="set it under data, as a string")
    return {str(name): str(value) for name, value in values.items()}


def settings_of(overlay: Path, values: dict[str, str]) -> Json:
    """The configuration: the overlay's settings, and where the values say that things are.

    Raises:
        UserError: If both say it.
    """
    file = overlay / "settings.yaml"
    settings = _read(file, bucket=values["bucket"], model=values["model"])
    if not isinstance(settings, dict):
        raise UserError("not a mapping of sections", where=str(file), fix="see manifests/overlays/dev/settings.yaml")
    placed: dict[str, Json] = {
        "store": {"root": f"s3://{values['bucket']}/{values['prefix']}", "endpoint": values["store-endpoint"] or None},
        "mlflow": {"tracking_uri": MLFLOW, "model": values["model"]},
        "cluster": {"host": values["kfp-host"], "namespace": values["namespace"]},
        "gitops": {"repository": values["repository"], "reference": values["reference"]},
    }
    for section, given in placed.items():
        if twice := sorted(set(given) & set(settings.get(section) or {})):
            raise UserError(
                f"{section}.{twice[0]} is said twice", where=str(file), fix="take it out: values.yaml says it"
            )
        settings[section] = {**(settings.get(section) or {}), **given}
    host = values.get("gateway-host", "")
    if host and not host.endswith("localhost"):  # which is who made a port-forward
        settings["mlflow"].setdefault("public_uri", f"https://{host}")
    _series(settings, values["namespace"])
    if proxy := _proxy(values, overlay / "values.yaml"):
        settings["cluster"]["environment"] = {**(settings["cluster"].get("environment") or {}), **proxy}
    return dict(settings)


def with_label_files(settings: dict[str, Any], overlay: Path) -> dict[str, Any]:
    """Settings in which a corpus has its labels in place of the file's name, which is relative to the overlay.

    Other paths are those of pods, and stay.

    Raises:
        UserError: If such a file cannot be read.
    """
    corpora = settings.get("corpora")
    for corpus in corpora if isinstance(corpora, list) else []:
        if isinstance(corpus, dict) and isinstance(corpus.get("labels"), str):
            corpus["labels"] = str(overlay.absolute() / corpus["labels"])
    return with_labels(settings, lambda _: f"{overlay}/settings.yaml")


def _read(file: Path, **values: str) -> Any:
    """A file's YAML, in which what stands in braces, such as ``{bucket}``, is a value."""
    try:
        text = file.read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return parse(text)[1]
    except NotYaml as error:
        where = f"{file}:{error.line}" if error.line else str(file)
        raise UserError(f"not YAML: {error.message}", where=where, fix="quote it, or mend it") from None
    except (ValueError, OSError) as error:
        raise UserError(f"cannot be read: {error}", where=str(file), fix="give a YAML file in UTF-8") from None


def _series(settings: Json, namespace: str) -> None:
    """Say how Prometheus tells the two servers of a canary apart, as components/monitoring has it scrape them."""
    canary = settings.get("canary")
    for side, monitor in (("champion", "serving"), ("canary", "serving-canary")):
        if isinstance(canary, dict) and isinstance(server := canary.get(side), dict):
            server.setdefault("series", f'job="{namespace}/{monitor}"')


def _proxy(values: dict[str, str], file: Path) -> dict[str, str]:
    """What steps know of a proxy, as components/egress-proxy tells the services; nothing where there is none.

    Kubeflow's launcher runs in a step's own container and asks the API server by its address, which only the operator
    knows.

    Raises:
        UserError: If what is in the cluster is not named.
    """
    if "proxy" not in values:
        return {}
    if not values.get("no-proxy"):
        fix = "name what is in the cluster, the range of its Services too: .svc,.cluster.local,10.96.0.0/12"
        raise UserError("a proxy and no no-proxy", where=str(file), fix=fix)
    return {"HTTPS_PROXY": values["proxy"], "NO_PROXY": f"{INSIDE},{values['no-proxy']}"}


def _release(version: str, cron: str, config: str) -> Json:
    """What kustomize writes into the Job that makes the schedule: another text makes it another Job."""
    schedule = hashlib.sha256("\n".join([version, cron, config]).encode()).hexdigest()[:12]
    metadata = {
        "name": "release",
        "labels": {"selfemo/step": "values"},
        "annotations": {"config.kubernetes.io/local-config": "true"},
    }
    data = {"version": version, "schedule": schedule}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _dump(row: Json) -> str:
    return yaml.safe_dump(row, sort_keys=False, width=1000)
