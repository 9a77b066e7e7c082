"""What became of a version, said where MLflow shows the model and its versions, and kept true as aliases move.

Words alone: where a server refuses one, the log says so, and nothing else fails. A description that somebody has
written by hand stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from selfemo.errors import UserError
from selfemo.registry.champion import PROMOTED, ROLLED_BACK
from selfemo.registry.client import PAGE, Registry
from selfemo.registry.markdown import code, escaped, spaced, table
from selfemo.registry.mlflow_client import quoted
from selfemo.registry.versions import CANARY, CHAMPION, ENDED, MODEL, STARTED

log = logging.getLogger(__name__)

OURS = "Policies of self-emo, "
STATUS = "**Status:** "
"""How descriptions of the model and of a version begin that are not somebody's own."""


def follow(registry: Registry) -> None:
    """Have the model's description and those of its versions say what the aliases and the tags say now."""

    def write() -> None:
        champion, canary = aliases(registry)
        client, found = registry.client, registry.client.search_model_versions(f"name={quoted(registry.model)}")
        if not found:
            return
        for version in found:
            head, gap, rest = (version.description or "").partition("\n\n")
            now = status(version, champion, canary)
            if head.startswith(STATUS) and head != now:
                client.update_model_version(registry.model, str(version.version), now + gap + rest)
        text, was = (
            _model_page(registry, found, champion, canary),
            client.get_registered_model(registry.model).description,
        )
        if was != text and (was or OURS).startswith(OURS):
            client.update_registered_model(registry.model, text)

    kindly(write, "the descriptions of the model and its versions")


def _model_page(registry: Registry, versions: Sequence[Any], champion: str, canary: str) -> str:
    """The model's description."""
    named = {str(v.version): v for v in versions}
    rows = []
    for name, number in ((CHAMPION, champion), (CANARY, canary)):
        if number in named:
            tags = named[number].tags
            came = f"round {tags.get('selfemo.round', '?')} of {escaped(tags.get('selfemo.run', '?'))}"
            linked = f"[version {number}]({address(registry.model, number)})"
            rows.append((name, linked, came, escaped(_why(name, tags))))
    lines = [
        MODEL,
        spaced(table(("alias", "version", "made by", "why"), rows)) if rows else "There is no champion yet.",
        f"What is served is {code(f'models:/{registry.model}@{CHAMPION}')}. A version's page has what became of it, "
        "what the gate saw, where it comes from, and its card. The gate moves aliases (`selfemo promote`, `rollback`).",
    ]
    return "\n\n".join(lines)


def _why(alias: str, tags: Mapping[str, str]) -> str:
    kind = "promotion" if alias == CHAMPION else "canary"
    forced = "against the gate: " if tags.get(f"selfemo.{kind}_forced") == "true" else ""
    return forced + tags.get(f"selfemo.{kind}_reason", "moved by hand")


def status(version: Any, champion: str, canary: str) -> str:
    """What became of a version, in a line."""
    tags, number = version.tags, str(version.version)
    if number == champion:
        said = f"champion since {escaped(tags.get(PROMOTED, 'it was moved by hand'))}: {escaped(_why(CHAMPION, tags))}"
    elif number == canary:
        said = f"canary since {escaped(tags.get(STARTED, 'it was moved by hand'))}: {escaped(_why(CANARY, tags))}"
    elif back := tags.get(ROLLED_BACK):
        said = f"rolled back, {escaped(back)}"
    elif when := tags.get(PROMOTED):
        said = f"champion once, since {escaped(when)}, until another was"
    elif ended := tags.get(ENDED):
        said = f"canary once, until {escaped(ended)}"
    elif stopped := tags.get("selfemo.stopped"):
        said = f"stopped by the collapse guard: {escaped(stopped)}"
    else:
        said = f"not promoted: {escaped(tags.get('selfemo.gate_reason', 'nobody has asked the gate'))}"
    return f"{STATUS}{said}"


def aliases(registry: Registry) -> tuple[str, str]:
    """Numbers of the champion and the canary; empty where there is none."""
    found = (registry.versions.alias(name) for name in (CHAMPION, CANARY))
    champion, canary = ("" if one is None else str(one.version) for one in found)
    return champion, canary


def address(model: str, version: str = "") -> str:
    """Where a model is shown, or one version of it, within MLflow's pages."""
    place = f"#/models/{quote(model, safe='')}"
    return f"{place}/versions/{version}?{PAGE}" if version else f"{place}?{PAGE}"


def kindly(write: Callable[[], None], what: str) -> None:
    """Write some words; where a server refuses them, the log says so."""
    try:
        write()
    except UserError as error:
        log.warning("%s could not be written: %s", what, error.message)
