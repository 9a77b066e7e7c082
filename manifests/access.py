"""Who may do what: the rules that every service account gets by roles and bindings."""

from __future__ import annotations

from manifests.objects import Json


def rights(objects: list[Json]) -> dict[str, list[str]]:
    """By account, each right as ``verb resource.group`` or ``verb resource.group/name``; people's as ``Group NAME``.

    An account that no binding names has none.
    """
    found: dict[str, set[str]] = {o["metadata"]["name"]: set() for o in objects if o["kind"] == "ServiceAccount"}
    roles = {o["metadata"]["name"]: o["rules"] for o in objects if o["kind"] == "Role"}
    for binding in (o for o in objects if o["kind"] == "RoleBinding"):
        for subject in binding["subjects"]:
            who = subject["name"] if subject["kind"] == "ServiceAccount" else f"{subject['kind']} {subject['name']}"
            for rule in roles[binding["roleRef"]["name"]]:
                found.setdefault(who, set()).update(spelled(rule))
    return {who: sorted(rights) for who, rights in sorted(found.items())}


def spelled(rule: Json) -> set[str]:
    """A rule of a role, each right on its own: ``verb resource.group`` or ``verb resource.group/name``."""
    kinds = [f"{kind}.{group}" if group else kind for group in rule["apiGroups"] for kind in rule["resources"]]
    names = [f"/{name}" for name in rule.get("resourceNames", [])] or [""]
    return {f"{verb} {kind}{name}" for verb in rule["verbs"] for kind in kinds for name in names}


def listed(objects: list[Json]) -> dict[str, list[str]]:
    """Rights of a Role by its name, for roles that nothing is bound to."""
    return {
        one["metadata"]["name"]: sorted(set().union(*map(spelled, one["rules"])))
        for one in objects
        if one["kind"] == "Role"
    }
