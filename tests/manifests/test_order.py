"""What GitOps applies finds its namespace there: made before, by whoever makes it, and by one alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from manifests.objects import Json, build, unresolved
from manifests.order import argo, flux
from tests.manifests.test_values import TAKEN, change, one, place, take

__all__ = ["place"]

WAYS = ["gitops/flux", "gitops/flux-native"]


def with_profile(place: Path) -> list[Json]:
    change(place, "prod", **TAKEN["profile"])
    return take(place, "prod", "profile", instead_of="namespace")


def without(place: Path) -> list[Json]:
    return take(place, "prod", instead_of="namespace")


def steps(place: Path, way: str) -> list[Json]:
    return build(place / way)


def found(place: Path, way: str, given: list[Json] | None = None) -> list[str]:
    return list(flux(place, given or steps(place, way)))


def test_a_profile_makes_the_namespace_before_all_that_lives_in_it(place: Path) -> None:
    objects = with_profile(place)
    assert list(argo(objects)) == [] == list(unresolved(objects, build(place / "cluster-gpu")))
    for way in WAYS:
        assert found(place, way) == []


def test_a_namespace_that_nothing_makes_is_refused(place: Path) -> None:
    objects = without(place)
    assert "Deployment/mlflow: names Namespace self-emo, which nothing makes" in list(unresolved(objects, []))
    for way in WAYS:
        assert "Deployment/mlflow: needs Namespace self-emo, which no Kustomization makes" in found(place, way)


def test_a_namespace_that_two_make_is_refused(place: Path) -> None:
    """Kubeflow takes over none that another has made, and a Profile of an other's namespace is never ready."""
    change(place, "prod", **TAKEN["profile"])
    objects = take(place, "prod", "profile")
    assert any("makes Namespace self-emo, and so does" in line for line in unresolved(objects, []))


@pytest.mark.parametrize(
    ("wave", "said"),
    [("0", "which comes in a later wave"), ("-2", "which is made of Profile/self-emo after its wave")],
)
def test_a_profile_that_comes_late_is_refused(place: Path, wave: str, said: str) -> None:
    objects = with_profile(place)
    one(objects, "Profile", "self-emo")["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] = wave
    assert any(line.startswith("ExternalSecret/") and said in line for line in argo(objects))


def test_a_namespace_of_the_same_wave_comes_first(place: Path) -> None:
    objects = build(place / "overlays/prod")
    one(objects, "Namespace", "self-emo")["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] = "-2"
    assert list(argo(objects)) == []


@pytest.mark.parametrize("way", WAYS)
def test_flux_waits_until_a_profile_has_made_the_namespace(place: Path, way: str) -> None:
    with_profile(place)
    given = steps(place, way)
    checks = one(given, "Kustomization", "self-emo-namespace")["spec"].pop("healthChecks")
    assert any("self-emo-namespace: does not wait for Namespace self-emo" in line for line in found(place, way, given))
    passed_over = {"healthChecks": checks, "wait": True}  # which makes Flux pass over the checks
    one(given, "Kustomization", "self-emo-namespace")["spec"].update(passed_over)
    assert any("does not wait for Namespace self-emo" in line for line in found(place, way, given))


@pytest.mark.parametrize("way", WAYS)
def test_a_namespace_that_flux_waits_for_in_vain_is_seen(place: Path, way: str) -> None:
    """values.yaml has another one than the health check: all that comes after would wait for ever."""
    change(place, "prod", namespace="emotions")
    said = "Kustomization/self-emo-namespace: waits for Namespace self-emo, which no Kustomization makes"
    assert found(place, way) == [said]


@pytest.mark.parametrize("way", WAYS)
def test_a_profile_in_one_go_with_what_lives_in_it_is_refused(place: Path, way: str) -> None:
    with_profile(place)
    given = [o for o in steps(place, way) if o["metadata"]["name"] != "self-emo-namespace"]
    rest = one(given, "Kustomization", "self-emo")["spec"]
    rest["patches"] = yaml.safe_load(yaml.safe_dump(rest["patches"]).replace("(namespace", "(nothing"))
    rest["dependsOn"] = []
    assert any("which is made of Profile/self-emo of self-emo itself" in line for line in found(place, way, given))


def test_neither_tool_removes_a_namespace_that_git_has_no_longer(place: Path) -> None:
    notes = one(build(place / "overlays/prod"), "Namespace", "self-emo")["metadata"]["annotations"]
    of_profile = one(with_profile(place), "Profile", "self-emo")["metadata"]["annotations"]
    for kept in (notes, of_profile):
        options = set(kept["argocd.argoproj.io/sync-options"].split(","))
        assert options == {"Prune=false", "Delete=false"}  # the second: when the application itself is deleted
        assert kept["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
