"""A run as its Workflow has it: Argo's nodes by name, with tries, times and messages.

Kubeflow Pipelines 2.17 runs a pipeline as a Workflow of Argo's. Its own list of tasks (``run_details.task_details``) is
that tree without the places: a dozen tasks called "executor". And it stops for good when the nodes grow past a
megabyte and Argo writes them compressed, which a run of two rounds does. The Workflow itself is in the answer of the
older API, ``v1beta1``.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

from pipelines.kubeflow import ask

Json = Mapping[str, Any]
LARGEST = 64 * 2**20
"""Bytes of nodes that are read: etcd takes 1.5 MB, compressed some ten times."""


@dataclass(frozen=True)
class Node:
    """A node that is tried until it succeeds; all that Kubeflow compiles are.

    Attributes:
        phase: Argo's word for it, such as ``Running``.
        message: Of its last try: why it failed, or what it waits for.
        tries: Ids of its tries, the first one first. The names of their pods end with the same number.
        seconds: From its beginning to its end; None before that.
        pods: Names that the pod of its last try may have, by version of Argo.
        began, ended: Seconds of Unix time; None before that.
        pending: Whether its last try waits for a place to run in.
        since: Seconds of Unix time at which its last try began.
    """

    phase: str
    message: str
    tries: list[str]
    seconds: float | None
    pods: tuple[str, ...] = ()
    began: float | None = None
    ended: float | None = None
    pending: bool = False
    since: float | None = None


def workflow(client: Any, run: str) -> Json | None:
    """The Workflow of a run; None where Kubeflow does not show one, or what it shows is none.

    Args:
        client: A kfp.Client.
        run: Id of the run.
    """
    answer = ask(client, f"/apis/v1beta1/runs/{run}")
    manifest = ((answer or {}).get("pipeline_runtime") or {}).get("workflow_manifest")
    try:
        found = json.loads(manifest or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def nodes(manifest: Json) -> dict[str, Node]:
    """Nodes of a Workflow by their full names, without the Workflow's; those that have not begun are left out.

    Raises:
        ValueError: If it is not as Argo writes it.
    """
    status = manifest.get("status") or {}
    told: dict[str, Json] = status.get("nodes") or {}
    if not told and (packed := status.get("compressedNodes")):
        with gzip.GzipFile(fileobj=BytesIO(base64.b64decode(packed))) as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ValueError(f"nodes of more than {LARGEST} bytes")
        told = json.loads(text)
    found = {}
    for node in told.values():
        if node.get("type") != "Retry":
            continue
        tries = [told[child] for child in node.get("children") or [] if child in told]
        tries = [one for one in tries if one["name"].startswith(f"{node['name']}(")]
        if tries:
            message = tries[-1].get("message") or node.get("message") or ""
            name = node["name"].removeprefix(manifest["metadata"]["name"])
            ids = [one["id"] for one in tries]
            number = ids[-1].rpartition("-")[2]
            pod = f"{manifest['metadata']['name']}-{tries[-1].get('templateName') or ''}-{number}"
            began, ended = _time(node.get("startedAt")), _time(node.get("finishedAt"))
            seconds = None if began is None or ended is None else ended - began
            pending = tries[-1].get("phase") == "Pending"
            phase = node.get("phase") or ""
            since = _time(tries[-1].get("startedAt"))
            found[name] = Node(phase, message, ids, seconds, (pod, ids[-1]), began, ended, pending, since)
    return found


def _time(told: str | None) -> float | None:
    return datetime.fromisoformat(told).timestamp() if told else None
