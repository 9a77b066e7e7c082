"""MLflow: a parent run for each pipeline run, a child for each round, a model version for each policy.

Weights are not logged again: a version's source is the policy's published, immutable artifact.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.errors import GateClosed, UserError
from selfemo.store.lock import who

log = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"


class Registry:
    """The run's view of one MLflow server.

    Args:
        tracking_uri: Of the server.
        config: For names.
    """

    def __init__(self, tracking_uri: str, config: Config) -> None:
        self.tracking_uri, self.config, self.model = tracking_uri, config, config.mlflow.model

    @cached_property
    def client(self) -> Any:
        """The MLflow client."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri)

    @cached_property
    def experiment(self) -> str:
        """Id of the experiment, created if need be."""
        name = self.config.mlflow.experiment
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(name))
        except Exception:  # another step was first: then it is there now
            return str(self.client.get_experiment_by_name(name).experiment_id)

    # Runs

    @cached_property
    def parent(self) -> str:
        """Id of the pipeline's run: the one KFP provides in ``MLFLOW_RUN_ID``, else found by the run's name."""
        if given := os.environ.get("MLFLOW_RUN_ID"):
            return given
        return self._find({"selfemo.run": self.config.run, "selfemo.kind": "pipeline"}, self.config.run)

    def round(self, number: int) -> str:
        """Id of the child run of a round."""
        tags = {"selfemo.kind": "round", "selfemo.round": str(number), "mlflow.parentRunId": self.parent}
        return self._find(tags, f"{self.config.run} round {number}")

    def link(self, number: int) -> str:
        """Where the run of a round is shown; empty where MLflow has no pages of its own."""
        if not self.tracking_uri.startswith(("http://", "https://")):
            return ""
        return f"{self.tracking_uri.rstrip('/')}/#/experiments/{self.experiment}/runs/{self.round(number)}"

    def rounds(self) -> list[Any]:
        """Child runs, by round number."""
        where = f"tags.`mlflow.parentRunId` = '{self.parent}' and tags.`selfemo.kind` = 'round'"
        runs = self.client.search_runs([self.experiment], where)
        return sorted(runs, key=lambda r: int(r.data.tags["selfemo.round"]))

    def _find(self, tags: dict[str, str], name: str) -> str:
        where = " and ".join(f"tags.`{k}` = '{v}'" for k, v in tags.items())
        found = self.client.search_runs([self.experiment], where, max_results=1)
        if found:
            return str(found[0].info.run_id)
        return str(self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id)

    def params(self, run: str, values: Mapping[str, Any]) -> None:
        """Log parameters; a value that changed since an earlier attempt is kept as a tag, since MLflow's are final."""
        from mlflow.entities import Param

        known = self.client.get_run(run).data.params
        new = [Param(k, str(v)[:6000]) for k, v in values.items() if k not in known]
        self.client.log_batch(run, params=new)
        for key, value in values.items():
            if known.get(key, str(value)) != str(value):
                self.client.set_tag(run, f"changed.{key}", str(value))

    def metrics(self, run: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Log metrics over steps, in batches: single calls cost 50 ms each."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        flat = [
            Metric(key, float(value), now, step)
            for step, values in rows
            for key, value in values.items()
            if isinstance(value, (int, float))
        ]
        for start in range(0, len(flat), 500):
            self.client.log_batch(run, metrics=flat[start : start + 500])

    def tags(self, run: str, values: Mapping[str, str]) -> None:
        """Set tags of a run."""
        for key, value in values.items():
            self.client.set_tag(run, key, value)

    def dataset(self, run: str, name: str, digest: str, uri: str, context: str) -> None:
        """Note a dataset that a run read, with its digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(name=name, digest=digest[:36], source_type="s3", source=f'{{"uri": "{uri}"}}')
        self.client.log_inputs(run, [DatasetInput(data, [InputTag("mlflow.data.context", context)])])

    def artifacts(self, run: str, files: Sequence[Path], folder: str | None = None) -> None:
        """Log small files."""
        for file in files:
            self.client.log_artifact(run, str(file), folder)

    def reopen(self, run: str) -> None:
        """Mark a run as running again: it was interrupted, or is being resumed."""
        self.client.update_run(run, status="RUNNING")

    def finish(self, run: str, succeeded: bool) -> None:
        """Close a run."""
        self.client.set_terminated(run, "FINISHED" if succeeded else "FAILED")

    # Models

    def register(self, policy: str, run: str, tags: Mapping[str, str]) -> str:
        """A version of the registered model for a policy; the same policy again gives the same version."""
        self._ensure_model()
        for version in self.client.search_model_versions(f"name='{self.model}'"):
            if version.source == policy:
                return str(version.version)
        made = self.client.create_model_version(self.model, policy, run_id=run, tags=dict(tags), await_creation_for=0)
        return str(made.version)

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.model, description="Policies of self-emo, one version a round.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def alias(self, name: str) -> Any | None:
        """The version that an alias names, or None."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version_by_alias(self.model, name)
        except MlflowException as error:
            # An unset alias is INVALID_PARAMETER_VALUE in MLflow 3.
            if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                return None
            raise

    def set_alias(self, name: str, version: str) -> None:
        """Point an alias at a version."""
        self.client.set_registered_model_alias(self.model, name, version)

    def version(self, number: str) -> Any:
        """A version of the model.

        Raises:
            UserError: If there is none.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version(self.model, number)
        except MlflowException:
            raise UserError(
                f"model {self.model!r} has no version {number}", where="registry",
                fix="see its versions with `selfemo ui`",
            ) from None  # fmt: skip

    def promote(self, number: str, *, passed: bool, reason: str, force: bool = False, evidence: str = "") -> str | None:
        """Move the champion alias, through the gate only.

        Args:
            number: Version to promote.
            passed: What the gate said.
            reason: Why: the gate's words, or a person's with ``force``.
            force: Promote against the gate; kept as a tag.
            evidence: What the gate saw, as JSON; kept as a tag.

        Returns:
            The version that was champion before, or None.

        Raises:
            GateClosed: If the gate did not pass and ``force`` is not given.
        """
        if not passed and not force:
            raise GateClosed(
                f"version {number} is not promoted: {reason}", where="gate",
                fix="train a better challenger, or use --force --reason WHY",
            )  # fmt: skip
        version, current = self.version(number), self.alias(CHAMPION)
        previous = None if current is None else str(current.version)
        if previous == str(version.version):
            return previous
        tags = {
            "selfemo.promoted_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "selfemo.promoted_by": who(),
            "selfemo.promotion_evidence": evidence,
            "selfemo.promotion_reason": reason,
            "selfemo.promotion_forced": str(force).lower(),
            "selfemo.previous_champion": previous or "",
        }
        for key, value in tags.items():
            self.client.set_model_version_tag(self.model, number, key, value)
        self.set_alias(CHAMPION, number)
        log.info("version %s of %s is champion: %s", number, self.model, reason)
        return previous

    def rollback(self, reason: str) -> tuple[str, str]:
        """Make the previous champion champion again.

        Returns:
            The version that was champion, and the one that is now.

        Raises:
            UserError: If there is no previous champion.
        """
        current = self.alias(CHAMPION)
        previous = current.tags.get("selfemo.previous_champion") if current is not None else None
        if current is None or not previous:
            raise UserError("there is no earlier champion to go back to", where=f"models:/{self.model}@{CHAMPION}")
        self.version(previous)
        self.client.set_model_version_tag(self.model, current.version, "selfemo.rolled_back", f"by {who()}: {reason}")
        self.set_alias(CHAMPION, previous)
        return str(current.version), previous

    def source(self, name: str) -> str:
        """URI of the weights of ``models:/name@alias`` or ``models:/name/version``.

        Raises:
            UserError: If there is no such model, version or alias.
        """
        from mlflow.exceptions import MlflowException

        rest = name.removeprefix("models:/")
        model, at, alias = rest.partition("@")
        try:
            if at:
                found = self.client.get_model_version_by_alias(model, alias)
            else:
                model, _, number = rest.partition("/")
                found = self.client.get_model_version(model, number)
        except MlflowException as error:
            raise UserError(
                str(error.message), where=name, fix="write models:/NAME@champion or models:/NAME/3"
            ) from None
        return str(found.source)
