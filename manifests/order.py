"""The order in which GitOps applies things: nothing may wait for what comes later."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from manifests.objects import Json, build, name_of, provided, references
from selfemo.places import temporary

PHASES = {"PreSync": 0, "Sync": 1, "PostSync": 2}
COMPONENT = "app.kubernetes.io/component"
MADE_BY = {"serving": "schedule"}
"""What is healthy only after another has worked: a model is served when a run has registered one, and the Job of the
schedule is what has runs started."""


def argo(objects: list[Json]) -> Iterator[str]:
    """What an Application of these objects would wait for in vain.

    Argo CD goes on to the next wave when all of a wave is healthy, and runs a PostSync hook when everything is.
    """
    when = {(kind, name): _place(one) for one in objects for kind, name, _ in provided(one)}
    for one in objects:
        for kind, name, _ in references(one):
            if when.get((kind, name), (0, 0)) > _place(one):
                yield f"{name_of(one)}: needs {kind} {name}, which comes in a later wave"
    yield from _made_later([(one, _place(one)) for one in objects])


def _place(one: Json) -> tuple[int, int]:
    notes = one["metadata"].get("annotations", {})
    phase = PHASES[notes.get("argocd.argoproj.io/hook", "Sync")]
    return phase, int(notes.get("argocd.argoproj.io/sync-wave", "0"))


def _made_later(placed: list[tuple[Json, tuple[int, ...]]]) -> Iterator[str]:
    """Workloads that wait in their wave for a hook or Job of a later one."""
    by_component: dict[str, list[tuple[Json, tuple[int, ...]]]] = {}
    for one, place in placed:
        if one["kind"] in ("Deployment", "InferenceService", "Job"):
            by_component.setdefault(one["metadata"].get("labels", {}).get(COMPONENT, ""), []).append((one, place))
    for waiting, maker in MADE_BY.items():
        for one, place in by_component.get(waiting, []):
            for other, later in by_component.get(maker, []):
                if later >= place:
                    yield f"{name_of(other)}: waits for {name_of(one)}, which waits for what it makes"


def flux(place: Path, steps: list[Json]) -> Iterator[str]:
    """What Kustomizations of Flux would wait for in vain.

    Flux asks the API server about all objects of a Kustomization at once, and applies one when those that it depends on
    are ready.

    Args:
        place: The manifests directory.
        steps: What Flux is given.
    """
    kustomizations = {s["metadata"]["name"]: s for s in steps if s["kind"] == "Kustomization"}
    before = {name: _before(name, kustomizations) for name in kustomizations}
    there: dict[tuple[str, str], str] = {}
    built: dict[str, list[Json]] = {}
    for name, step in kustomizations.items():
        if name in before[name]:
            yield f"Kustomization/{name}: depends on itself"
            return
        try:
            built[name] = _built(place, step)
        except RuntimeError as error:
            yield f"Kustomization/{name}: {error}"
            return
        for one in built[name]:
            if (one["kind"], one["metadata"]["name"]) in there:
                yield f"{name_of(one)}: is of {name} and of {there[one['kind'], one['metadata']['name']]}"
            there[one["kind"], one["metadata"]["name"]] = name
    for name, objects in built.items():
        kinds = {one["kind"] for one in objects}
        if {"Pipeline", "PipelineVersion"} <= kinds:
            yield f"Kustomization/{name}: a PipelineVersion is refused before its Pipeline is there, and all with it"
        for one in objects:
            for kind, wanted, _ in references(one):
                if (at := there.get((kind, wanted))) and at != name and at not in before[name]:
                    yield f"{name_of(one)}: needs {kind} {wanted} of {at}, on which {name} does not depend"
        if kustomizations[name]["spec"].get("wait"):
            yield from _made_later([(one, (0,)) for one in objects])


def _before(name: str, steps: dict[str, Json]) -> set[str]:
    """All on which a Kustomization depends; itself too, if they go round in a circle."""
    found: set[str] = set()
    more = [name]
    while more:
        for other in steps[more.pop()]["spec"].get("dependsOn", []):
            if other["name"] not in found:
                found.add(other["name"])
                more.append(other["name"])
    return found & set(steps)


def _built(place: Path, step: Json) -> list[Json]:
    """What Flux builds: the overlay's own kustomization, with the step's components and patches added to it."""
    path = step["spec"]["path"].removeprefix("./manifests/")
    extra = {key: step["spec"][key] for key in ("components", "patches") if key in step["spec"]}
    if not extra:
        return build(place / path)
    with temporary("order") as directory:
        copy = Path(shutil.copytree(place, Path(directory) / "manifests"))
        file = copy / path / "kustomization.yaml"
        own = yaml.safe_load(file.read_text())
        for key, given in extra.items():
            own[key] = [*own.get(key, []), *given]
        file.write_text(yaml.safe_dump(own))
        return build(copy / path)
