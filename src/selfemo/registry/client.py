"""MLflow: a parent run for each pipeline run, a child for each round, a model version for each policy.

Weights are not logged again: a version's source is the policy's published, immutable artifact.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.errors import GateClosed, UserError
from selfemo.registry.champion import CHAMPION as CHAMPION
from selfemo.registry.champion import Champion
from selfemo.registry.mlflow_client import MISSING, PATIENCE, Client, Point, Refused, points, quoted
from selfemo.store.lock import Lease

CHALLENGER = "challenger"


class Registry:
    """The run's view of one MLflow server.

    Args:
        tracking_uri: Of the server.
        config: For names.
        patience: Seconds to wait for the server where it is away; 0 tries once.
    """

    def __init__(self, tracking_uri: str, config: Config, patience: float = PATIENCE) -> None:
        self.tracking_uri, self.config, self.model = tracking_uri, config, config.mlflow.model
        self.patience = patience

    @cached_property
    def client(self) -> Client:
        """The MLflow client."""
        return Client(self.tracking_uri, self.patience)

    @cached_property
    def champion(self) -> Champion:
        """What moves the champion alias."""
        return Champion(self)

    @cached_property
    def experiment(self) -> str:
        """Id of the experiment, created if need be."""
        name = self.config.mlflow.experiment
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(name))
        except Refused as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
            # Another step was first, or the answer to our own request got lost: it is there now.
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
        where = f"tags.`mlflow.parentRunId` = {quoted(self.parent)} and tags.`selfemo.kind` = 'round'"
        runs = self.client.search_runs([self.experiment], where)
        return sorted(runs, key=lambda r: int(r.data.tags["selfemo.round"]))

    def _find(self, tags: dict[str, str], name: str) -> str:
        """Id of the run with these tags, made if need be; of several, of the first, whoever asks."""
        where = " and ".join(f"tags.`{k}` = {quoted(v)}" for k, v in tags.items())
        experiment = self.experiment

        def find(mlflow: Any) -> str | None:
            found = mlflow.search_runs([experiment], where)
            return min(((r.info.start_time, r.info.run_id) for r in found), default=(0, None))[1]

        def find_or_make(mlflow: Any) -> str:
            if known := find(mlflow):
                return known
            made = mlflow.create_run(experiment, tags=tags, run_name=name)
            # An earlier request whose answer got lost may have made one as well.
            return find(mlflow) or str(made.info.run_id)

        return self.client.patiently(find_or_make)

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
        """Log metrics over steps."""
        self.log(run, points(rows))

    def log(self, run: str, rows: Sequence[Point]) -> None:
        """Log metrics one by one, in batches: single calls cost 50 ms each."""
        from mlflow.entities import Metric

        flat = [Metric(*row) for row in rows]
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

    def register(self, policy: str, run: str, tags: Mapping[str, str], lineage: Mapping[str, str] | None = None) -> str:
        """A version of the registered model for a policy; the same policy again gives the same version, with new tags.

        The scores of a policy that is evaluated anew, and what the gate said of them, replace the old ones. Should
        there be several versions of one policy, the first is meant, whoever asks. Where it comes from is said once: a
        run that begins from another run's policy does not claim it.
        """
        first = {**(lineage or {}), **tags}
        self._ensure_model()

        def find(mlflow: Any) -> Any | None:
            found = mlflow.search_model_versions(f"name={quoted(self.model)}")
            return min((v for v in found if v.source == policy), key=lambda v: int(v.version), default=None)

        def find_or_make(mlflow: Any) -> Any:
            if known := find(mlflow):
                return known
            made = mlflow.create_model_version(self.model, policy, run_id=run, tags=first, await_creation_for=0)
            # An earlier request whose answer got lost may have made one as well.
            return find(mlflow) or made

        version = self.client.patiently(find_or_make)
        for key, value in first.items():
            if key not in version.tags or (key in tags and version.tags[key] != value):
                self.client.set_model_version_tag(self.model, version.version, key, value)
        return str(version.version)

    def _ensure_model(self) -> None:
        try:
            self.client.create_registered_model(self.model, description="Policies of self-emo, one version a round.")
        except Refused as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise

    def alias(self, name: str) -> Any | None:
        """The version that an alias names, or None."""
        try:
            return self.client.get_model_version_by_alias(self.model, name)
        except Refused as error:
            if error.code in MISSING:
                return None
            raise

    def set_alias(self, name: str, version: str, lease: Lease | None = None) -> None:
        """Point an alias at a version.

        Args:
            name: Of the alias.
            version: Number of the version.
            lease: Of the lock; it is renewed right before each try.
        """

        def move(mlflow: Any) -> None:
            if lease is not None:
                lease.renew()
            mlflow.set_registered_model_alias(self.model, name, version)

        self.client.patiently(move)

    def unset_alias(self, name: str) -> None:
        """Take an alias away."""
        self.client.delete_registered_model_alias(self.model, name)

    def version(self, number: str) -> Any:
        """A version of the model.

        Raises:
            UserError: If there is none.
        """
        try:
            return self.client.get_model_version(self.model, number)
        except Refused as error:
            if error.code not in MISSING:
                raise
            raise UserError(
                f"model {self.model!r} has no version {number}",
                where="registry",
                fix="see its versions with `selfemo ui`",
            ) from None

    def promote(
        self,
        number: str,
        *,
        passed: bool,
        reason: str,
        force: bool = False,
        evidence: str = "",
        lease: Lease | None = None,
    ) -> str | None:
        """Move the champion alias, through the gate only; under the lock of promotions.

        Args:
            number: Version to promote.
            passed: What the gate said.
            reason: Why: the gate's words, or a person's with ``force``.
            force: Promote against the gate; kept as a tag.
            evidence: What the gate saw, as JSON; kept as a tag.
            lease: Of the lock.

        Returns:
            The version that was champion before, or None.

        Raises:
            GateClosed: If the gate did not pass and ``force`` is not given.
        """
        if not passed and not force:
            raise GateClosed(
                f"version {number} is not promoted: {reason}",
                where="gate",
                fix="train a better challenger, or use --force --reason WHY",
            )
        tags = {"selfemo.promotion_evidence": evidence, "selfemo.promotion_forced": str(force).lower()}
        return self.champion.promote(str(number), tags, reason, lease)

    def rollback(self, reason: str, lease: Lease | None = None) -> tuple[str, str]:
        """Make the previous champion champion again; under the lock of promotions.

        Returns:
            The version that was champion, and the one that is now.

        Raises:
            UserError: If there is no previous champion.
        """
        return self.champion.rollback(reason, lease)

    def source(self, name: str) -> str:
        """URI of the weights of ``models:/name@alias`` or ``models:/name/version``.

        Raises:
            UserError: If there is no such model, version or alias.
        """
        rest = name.removeprefix("models:/")
        try:
            if "/" in rest:  # a model's name has none
                model, _, number = rest.partition("/")
                found = self.client.get_model_version(model, number)
            else:
                model, _, alias = rest.rpartition("@")
                found = self.client.get_model_version_by_alias(model, alias)
        except Refused as error:
            if error.code not in MISSING:
                raise
            raise UserError(error.message, where=name, fix="write models:/NAME@champion or models:/NAME/3") from None
        return str(found.source)
