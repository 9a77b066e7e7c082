"""What is served, as Git is to say it: the champion, and beside it the canary while there is one."""

from __future__ import annotations

from typing import Any

from selfemo.errors import UserError
from selfemo.registry import git as gitops
from selfemo.registry.canary import ANSWERED, REASON
from selfemo.registry.reference import CanaryReference, Reference
from selfemo.registry.status import follow
from selfemo.registry.surroundings import Surroundings
from selfemo.registry.versions import CHAMPION, Versions

OPENED = "selfemo.pull_request"
"""Tag of a version: the commit for which the pull request that serves it was opened."""
BY_HAND = "moved by hand in the registry, without the gate"


def reference(context: Surroundings, version: Any) -> Reference:
    """A version of the model, exactly.

    Raises:
        UserError: If its weights are not what was registered.
    """
    found, registered = context.policies.find(str(version.source)), version.tags.get("selfemo.digest")
    where = f"version {version.version} of {context.registry.model}"
    if found.manifest is None:
        raise UserError(f"nothing is published at {found.uri}", where=where, fix="promote a version that the loop made")
    if registered and registered != found.digest:
        raise UserError(
            f"the weights at {found.uri} are not those that were registered", where=where, fix="promote another version"
        )
    return Reference(context.registry.model, str(version.version), found.uri, found.digest)


def wanted(context: Surroundings, champion: Any) -> Reference:
    """What is to be served where a version is champion.

    A canary whose server has not been seen to answer yet gets no share: the gateway would send that to nobody.

    Raises:
        UserError: If the weights of either are not what was registered.
    """
    made = reference(context, champion)
    if context.config.canary is None:
        return made
    canary = context.registry.canary.running()
    if canary is None:
        return made.with_canary(CanaryReference.nobody())
    share = context.config.canary.share if canary.tags.get(ANSWERED) else 0
    other = reference(context, canary)
    return made.with_canary(CanaryReference(other.version, other.uri, other.digest, share))


def synchronise(context: Surroundings, why: str = "") -> str:
    """Compare the aliases with what Git and MLflow's pages say, and repair that; what was done in Git, in words."""
    context.registry.versions.ensure()  # the reconciler may come before the first run
    follow(context.registry)
    if not context.config.gitops.repository:
        return "Git is left alone: gitops.repository is not set"
    champion = context.registry.versions.alias(CHAMPION)
    if champion is None:
        return f"{context.registry.model} has no champion: nothing to serve"
    served = wanted(context, champion)
    told = champion.tags.get("selfemo.promotion_reason", BY_HAND)
    if served.canary is not None and served.canary.version:
        told = context.registry.versions.get(served.canary.version).tags.get(REASON, BY_HAND)
    memory = _Opened(context.registry.versions, str(champion.version))
    return gitops.proposed(context.config.gitops, served, why or str(told), memory)


class _Opened:
    """Pull requests, remembered in a tag of the version that they are to serve."""

    def __init__(self, versions: Versions, number: str) -> None:
        self.versions, self.number = versions, number

    def opened(self) -> str:
        return str(self.versions.get(self.number).tags.get(OPENED, ""))

    def remember(self, commit: str) -> None:
        self.versions.client.set_model_version_tag(self.versions.model, self.number, OPENED, commit)
