"""The file in Git that says which versions are served: a ConfigMap, which kustomize reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import yaml

from selfemo.data.yamls import NotYaml, parse

HEADER = "# Which model is served. Written by `selfemo promote`, `rollback` and `sync-registry`; kustomize reads it.\n"


@dataclass(frozen=True)
class CanaryReference:
    """The version that serves beside the champion.

    Attributes:
        version, uri, digest: As of :class:`Reference`; empty where there is none.
        share: Of the traffic, in percent.
    """

    version: str
    uri: str
    digest: str
    share: int

    @classmethod
    def nobody(cls) -> Self:
        """No canary, where there may be one."""
        return cls("", "", "", 0)


@dataclass(frozen=True)
class Reference:
    """A model version, so exactly that nothing else can be served in its name.

    Attributes:
        model: Name in the registry.
        version: Its number.
        uri: Of the published artifact: immutable.
        digest: Over the artifact's names and contents.
        canary: What serves beside it; None where there are no canaries, and the file says nothing of one.
    """

    model: str
    version: str
    uri: str
    digest: str
    canary: CanaryReference | None = None

    def with_canary(self, canary: CanaryReference) -> Reference:
        """The same with a canary, or with nobody in its place."""
        return replace(self, canary=canary)

    @property
    def named(self) -> str:
        """Its versions, as a branch is named after them."""
        there = self.canary is not None and self.canary.version
        return f"{self.version}-canary-{there}" if there else self.version

    @property
    def title(self) -> str:
        """What serves it, in a line."""
        if self.canary is None or not self.canary.version:
            return f"Serve version {self.version} of {self.model}"
        share = f"{self.canary.share} % of the traffic" if self.canary.share else "no traffic yet"
        return f"Serve version {self.version} of {self.model}, and {self.canary.version} as canary with {share}"

    def to_yaml(self, replicas: str = "1") -> str:
        """The file's text: a ConfigMap, the same for the same versions.

        Args:
            replicas: Pods that serve it; ``stop`` is KServe's word for none.
        """
        metadata = {"name": "served-model", "labels": {"app.kubernetes.io/name": "selfemo"}}
        served = {"replicas": replicas, "stop": "true" if replicas == "0" else "false"}
        data = {"model": self.model, "version": self.version, "uri": self.uri, "digest": self.digest, **served}
        row = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {**data, **self._canary()}}
        return HEADER + yaml.safe_dump(row, sort_keys=False, width=1000)

    def _canary(self) -> dict[str, str]:
        """What is said of the canary: of none, that there is none, in the words of one, since kustomize copies them."""
        if self.canary is None:
            return {}
        there = self.canary if self.canary.version else CanaryReference("0", self.uri, self.digest, 0)
        return {
            "canary": "present" if self.canary.version else "absent",
            "canary-version": there.version,
            "canary-uri": there.uri,
            "canary-digest": there.digest,
            "canary-share": str(there.share),
            "champion-share": str(100 - there.share),
        }


def knows_canaries(text: str | None) -> bool:
    """Whether a file says whether there is a canary: then the manifests read that, and it has to go on saying so."""
    return "canary" in _data(text)


def replicas_of(text: str | None) -> str:
    """How many pods are to serve a version: as many as the file says, which a person may have set, and one at least.

    A file that has served nothing yet says none.
    """
    try:
        given = int(_data(text)["replicas"])
    except (LookupError, TypeError, ValueError, ArithmeticError):
        return "1"
    return str(given) if given > 0 else "1"


def _data(text: str | None) -> dict[str, Any]:
    """The data of a ConfigMap that people may have edited; nothing where it is none."""
    try:
        _, row = parse(text or "")
    except NotYaml:
        return {}
    data = row.get("data") if isinstance(row, dict) else None
    return data if isinstance(data, dict) else {}
