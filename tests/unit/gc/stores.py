"""A store with runs in MLflow, for the tests of `selfemo gc`. On the embedded S3: tests/integration/test_servers.py."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.context import Context
from selfemo.gc import collect


class Stores:
    """A store in a directory and MLflow in a file, with artifacts at the places that steps give them."""

    def __init__(self, folder: Path, mlflow: str) -> None:
        self.folder, self.settings = (
            folder,
            [
                f"workdir={folder / 'w'}",
                f"store.root={(folder / 's').as_uri()}",
                f"mlflow.tracking_uri={mlflow}",
            ],
        )
        self.context = self.of("demo")
        self.store, self.client = self.context.store, self.context.registry.client

    def config(self, run: str) -> Config:
        return configuration.load(None, [f"run={run}", *self.settings])

    def of(self, run: str) -> Context:
        return Context(self.config(run))

    def begin(self, run: str) -> Context:
        context = self.of(run)
        _ = context.registry.parent
        return context

    def end(self, context: Context, *decisions: str, prepared: str = "") -> None:
        """What prepare, decide and report leave in MLflow."""
        registry = context.registry
        tags = {"selfemo.decisions": json.dumps(decisions), "selfemo.prepared": prepared}
        registry.tags(registry.parent, tags)
        registry.finish(registry.parent)

    def put(
        self, place: str, inputs: dict[str, Any] | None = None, files: tuple[str, ...] = ("a",), **result: Any
    ) -> str:
        """URI of an artifact, at ``RUN/ROUND/STEP`` with a key of its own."""
        run, round, step = place.split("/")
        key = hashlib.sha256(f"{place}{sorted((inputs or {}).items())}".encode()).hexdigest()[:12]
        uri = self.store.uri(run, f"round-{round}", f"{step}-{key}")
        source = self.folder / "source" / key
        source.mkdir(parents=True, exist_ok=True)
        for name in files:
            (source / name).write_text(f"{name} of {uri}")
        self.store.publish(source, uri, step=step.removesuffix("_shard"), inputs=inputs or {}, result=result)
        return uri

    def grow_old(self) -> None:
        for path in (*self.folder.rglob("*"), self.folder):
            os.utime(path, (1e9, 1e9), follow_symlinks=False)

    def plan(self, **given: Any) -> collect.RemovalPlan:
        return collect.plan(Context(self.context.config), **given)

    def goes(self, **given: Any) -> set[str]:
        return {leftover.uri for leftover in self.plan(**given).leftovers}

    def round(self, run: str, number: int = 1) -> dict[str, str]:
        """A round as the steps make it."""
        made = {"prepare": self.put(f"{run}/0/prepare")}
        made["parent"] = self.put(f"{run}/0/warmup", {"prepared": made["prepare"]})
        made["shard"] = self.put(f"{run}/{number}/generate", {"policy": made["parent"], "shard": 0})
        made["gather"] = self.put(f"{run}/{number}/gather", {"policy": made["parent"], "prepared": made["prepare"]})
        made["filter"] = self.put(f"{run}/{number}/filter", {"rollouts": made["gather"]})
        given = {"policy": made["parent"], "samples": made["filter"], "prepared": made["prepare"]}
        made["train"] = self.put(f"{run}/{number}/train", given)
        made["score"] = self.put(f"{run}/{number}/score", {"policy": made["train"], "prepared": made["prepare"]})
        given = {
            "challenger": made["train"],
            "scores": made["score"],
            "champion": made["parent"],
            "champion_scores": "",
        }
        made["decide"] = self.put(f"{run}/{number}/decide", given, policy=made["train"], scores=made["score"])
        return made
