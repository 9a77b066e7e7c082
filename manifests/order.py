"""The order in which GitOps applies things: nothing may wait for what comes later."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from manifests.objects import MADE_ELSEWHERE, Json, build, name_of, provided, references
from selfemo.places import temporary

PHASES = {"PreSync": 0, "Sync": 1, "PostSync": 2}
COMPONENT = "app.kubernetes.io/component"
MADE_BY = {"serving": "schedule"}
"""What is healthy only after another has worked: a model is served when a run has registered one, and the Job of the
schedule is what has runs started."""


def argo(objects: list[Json]) -> Iterator[str]:
    """What an Application of these objects would wait for in vain.

    Argo CD goes on to the next wave when all of a wave is healthy, and runs a PostSync hook when everything is. Of a
    wave namespaces come first, and custom resources such as a Profile last.
    """
    makers = {(kind, name): one for one in objects for kind, name, _ in provided(one)}
    for one in objects:
        for kind, name, _ in references(one):
            maker = makers.get((kind, name), one)
            if _place(maker) > _place(one):
                yield f"{name_of(one)}: needs {kind} {name}, which comes in a later wave"
            elif _by_a_controller(kind, maker) and _place(maker) == _place(one):
                yield f"{name_of(one)}: needs {kind} {name}, which is made of {name_of(maker)} after its wave"
    yield from _made_later([(one, _place(one)) for one in objects])


def _by_a_controller(kind: str, maker: Json) -> bool:
    """Whether a namespace comes some time after the object that it is made of: what lives in it is refused until then.

    Of other things that a controller makes, such as a Secret, pods wait for.
    """
    return kind == "Namespace" and maker["kind"] == "Profile"


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
    makers: dict[tuple[str, str], Json] = {}
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
            for kind, made, _ in provided(one):
                there[kind, made], makers[kind, made] = name, one
    for name, objects in built.items():
        for namespace in _awaited(kustomizations[name]):
            if ("Namespace", namespace) not in there:
                yield f"Kustomization/{name}: waits for Namespace {namespace}, which no Kustomization makes"
        kinds = {one["kind"] for one in objects}
        if {"Pipeline", "PipelineVersion"} <= kinds:
            yield f"Kustomization/{name}: a PipelineVersion is refused before its Pipeline is there, and all with it"
        for one in objects:
            for kind, wanted, _ in references(one):
                at = there.get((kind, wanted))
                if at and at != name and at not in before[name]:
                    yield f"{name_of(one)}: needs {kind} {wanted} of {at}, on which {name} does not depend"
                elif kind == "Namespace" and not at and (kind, wanted) not in MADE_ELSEWHERE:
                    yield f"{name_of(one)}: needs {kind} {wanted}, which no Kustomization makes"
                elif at and _by_a_controller(kind, maker := makers[kind, wanted]):
                    if at == name:
                        source = f"{name_of(maker)} of {name} itself"
                        yield f"{name_of(one)}: needs {kind} {wanted}, which is made of {source}"
                    elif wanted not in _awaited(kustomizations[at]):
                        yield f"Kustomization/{at}: does not wait for {kind} {wanted}, which {name_of(one)} needs"
        if kustomizations[name]["spec"].get("wait"):
            yield from _made_later([(one, (0,)) for one in objects])


def _awaited(step: Json) -> set[str]:
    """Namespaces that have to be there before a Kustomization is ready; where it waits for all, Flux ignores checks."""
    checks = [] if step["spec"].get("wait") else step["spec"].get("healthChecks", [])
    return {check["name"] for check in checks if check["kind"] == "Namespace"}


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
