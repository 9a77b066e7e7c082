"""A stub of Kubeflow Pipelines' API, which remembers what it was told."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

ROOT = "/apis/v2beta1"


class Stub:
    """Pipelines, versions, experiments, runs and schedules, kept in memory.

    Attributes:
        multi_user: Whether it has namespaces: then it refuses to be told none, and else to be told one.
        states: What a run says of itself at each look, the last one for ever.
        history: States that a run says it has had.
        workflows: Of runs, by their ids, as the older API has them.
        faults: How many of the next looks at a run fail.
    """

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = {
            k: [] for k in ("pipelines", "versions", "experiments", "runs", "recurringRuns")
        }
        self.made = Counter[str]()
        self.states = ["SUCCEEDED"]
        self.history: list[str] = []
        self.workflows: dict[str, dict[str, Any]] = {}
        self.multi_user = True
        self.faults = 0
        self.logs: dict[str, str] = {}
        self.refusal: tuple[str, int, str] | None = None
        self.url = ""
        self.tokens: set[str | None] = set()
        self.users: set[str | None] = set()
        self.uploads: list[bytes] = []

    def add(self, kind: str, key: str, what: dict[str, Any]) -> dict[str, Any]:
        self.made[kind] += 1  # an id is never given twice
        what[key] = f"{kind}-{self.made[kind]}"
        self.kept[kind].append(what)
        return what

    def get(self, path: str, query: dict[str, str]) -> dict[str, Any] | str | None:
        if path == "/healthz":
            return {"multi_user": self.multi_user}
        if match := re.fullmatch(r"/pipelines/names/(.+)", path):
            return next((p for p in self.kept["pipelines"] if p["display_name"] == match.group(1)), None)
        if path == "/pipelines":
            return {"pipelines": self.kept["pipelines"]}
        if match := re.fullmatch(r"/pipelines/([^/]+)/versions", path):
            return {"pipeline_versions": [v for v in self.kept["versions"] if v["pipeline_id"] == match.group(1)]}
        if path == "/experiments":
            return {"experiments": self.kept["experiments"]}
        if path == "/runs":
            return {"runs": self.kept["runs"]}
        if path == "/recurringruns":
            return {"recurringRuns": self.kept["recurringRuns"]}
        if match := re.fullmatch(r"/apis/v1beta1/runs/([^/]+)", path):
            found = self.workflows.get(match.group(1))
            return found and {"pipeline_runtime": {"workflow_manifest": json.dumps(found)}}
        if match := re.fullmatch(r"/apis/v1alpha1/runs/[^/]+/nodes/([^/]+)/log", path):
            return self.logs.get(match.group(1))
        if match := re.fullmatch(r"/runs/([^/]+)", path):
            return self.look(match.group(1))
        return None

    def refuses(self, command: str, path: str, query: dict[str, str], body: bytes) -> bool:
        """As the API server of 2.17.0 does, with a store of pipelines in Kubernetes too."""
        if path in ("/pipelines/upload", "/experiments", "/pipelines"):
            given = json.loads(body).get("namespace") if (command, path) == ("POST", "/experiments") else None
            return bool(given or query.get("namespace")) != self.multi_user
        return False

    def look(self, name: str) -> dict[str, Any]:
        run = next(r for r in self.kept["runs"] if r["run_id"] == name)
        if self.faults:
            self.faults -= 1
            raise RuntimeError("not now")
        run["state"] = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        done = {"task_id": "t1", "display_name": "Self-play", "state": run["state"]}
        history = [{"state": state} for state in self.history]
        return {**run, "state_history": history, "run_details": {"task_details": [done]}}

    def post(self, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        if path == "/pipelines/upload":
            self.uploads.append(body)
            return self.add("pipelines", "pipeline_id", {"display_name": query["name"]})
        if path == "/pipelines/upload_version":
            self.uploads.append(body)
            what = {"display_name": query["name"], "pipeline_id": query["pipelineid"]}
            return self.add("versions", "pipeline_version_id", what)
        if match := re.fullmatch(r"/recurringruns/([^/]+):disable", path):
            (job,) = (j for j in self.kept["recurringRuns"] if j["recurring_run_id"] == match.group(1))
            job["status"] = "DISABLED"
            return {}
        given = json.loads(body)
        if path == "/experiments":
            return self.add("experiments", "experiment_id", given)
        if path == "/runs":
            return self.add("runs", "run_id", {**given, "state": "RUNNING"})
        return self.add("recurringRuns", "recurring_run_id", {**given, "status": "ENABLED"})
