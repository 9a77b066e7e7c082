"""MLflow: a parent run for each pipeline run, a child for each round, a model version for each policy.

Weights are not logged again: a version's source is the policy's published, immutable artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.registry.canary import Canary
from selfemo.registry.champion import Champion
from selfemo.registry.mlflow_client import PATIENCE, Client, MlflowRefused, Point, points, quoted
from selfemo.registry.versions import Versions

NOTE = "mlflow.note.content"
KIND = "mlflow.experimentKind"
"""Tags of MLflow's own: the text on the page of an experiment or run, and which pages an experiment opens on."""
TRAINING = "custom_model_development"
"""The kind of runs and charts, not of traces of language models."""
PAGE = "workflowType=machine_learning"
"""The same in an address: MLflow 3.17 goes by that, else by the switch that a browser remembers, not by the kind."""
ABOUT = """\
Runs of **self-emo**: open the newest, its page says what came of its rounds. What else to look at: unfold this note.

1. **A row is a run of the pipeline.** Unfold it, and its rounds are below it; round 0 is the policy after the warm-up.
2. **The charts of a run** (Model metrics) show `round/` over the rounds: weighted_f1 on held-out dialogues, mean_reward
of what was generated, accepted and rejected candidates.
3. **The charts of rounds beside each other**: switch to the chart view, unfold the run on the left: `eval/` by corpus
and label, `filter/` by reason, `train/` over optimizer steps.
4. **Artifacts**: `report.html` of a run is all of it on one page; `card.md` of a round is the model's card.
5. **The registered model** has a version for each policy: what became of it, what the gate saw, where it comes from.
"""
"""The note of a new experiment."""
PARAMETER = 6_000
"""Most characters of a parameter that MLflow keeps."""
SOON = 10.0
"""Seconds that a server is waited for which has answered just before."""


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
    def versions(self) -> Versions:
        """The registered model's versions."""
        return Versions(self.client, self.model)

    @cached_property
    def champion(self) -> Champion:
        """What moves the champion alias."""
        return Champion(self.versions)

    @cached_property
    def canary(self) -> Canary:
        """What moves the canary alias."""
        return Canary(self.versions)

    @cached_property
    def experiment(self) -> str:
        """Id of the experiment, created if need be."""
        name = self.config.mlflow.experiment
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            self._introduce(found)
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(name, tags={KIND: TRAINING, NOTE: ABOUT}))
        except MlflowRefused as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
            # Another step was first, or the answer to our own request got lost: it is there now.
            return str(self.client.get_experiment_by_name(name).experiment_id)

    def _introduce(self, experiment: Any) -> None:
        """Say what an experiment is that says nothing of itself, as one that was made by hand; refused, it stays so."""
        for key, value in ((KIND, TRAINING), (NOTE, ABOUT)):
            if key not in experiment.tags:
                with suppress(MlflowRefused):
                    self.client.set_experiment_tag(experiment.experiment_id, key, value)

    def allows(self) -> None:
        """Make sure that the server lets us in, before anything is done that it would then not take.

        Raises:
            UserError: If it does not, in its own words.
        """
        if self.tracking_uri.startswith(("http://", "https://")):
            Client(self.tracking_uri, min(self.patience, SOON)).search_experiments(max_results=1)

    # Runs

    @cached_property
    def parent(self) -> str:
        """Id of the pipeline's run, found by the run's name.

        Not ``MLFLOW_RUN_ID``, which KFP's MLflow plugin sets to a run of each task's own.
        """
        return self._find(self._ours, self.config.run)

    @property
    def _ours(self) -> dict[str, str]:
        return {"selfemo.run": self.config.run, "selfemo.kind": "pipeline"}

    @property
    def public_uri(self) -> str:
        """Where people open MLflow."""
        return self.config.mlflow.public_uri or self.tracking_uri

    def pages(self) -> tuple[str | None, str]:
        """Addresses of the pipeline's run, if it is there, and of its experiment; nothing is made.

        Where there is no experiment yet, or MLflow is a database without pages, that is where MLflow itself is.
        """
        found = self.client.get_experiment_by_name(self.config.mlflow.experiment)
        if found is None or not self.public_uri.startswith(("http://", "https://")):
            return None, self.public_uri
        place = f"{self.public_uri.rstrip('/')}/#/experiments/{found.experiment_id}/runs"
        run = self.client.patiently(lambda mlflow: _first(mlflow, str(found.experiment_id), self._ours))
        return f"{place}/{run}?{PAGE}" if run else None, f"{place}?{PAGE}"

    def round(self, number: int) -> str:
        """Id of the child run of a round."""
        tags = {"selfemo.kind": "round", "selfemo.round": str(number), "mlflow.parentRunId": self.parent}
        return self._find(tags, f"{self.config.run} round {number}")

    def earlier(self, schedule: str) -> Any | None:
        """The newest run of a schedule that ended well, other than this one; None if there is none."""
        where = f"tags.`selfemo.schedule` = {quoted(schedule)} and attributes.status = 'FINISHED'"
        runs = self.client.search_runs([self.experiment], where, order_by=["attributes.start_time DESC"])
        return next((run for run in runs if run.data.tags["selfemo.run"] != self.config.run), None)

    def link(self, number: int) -> str:
        """Where the run of a round is shown; empty where MLflow has no pages of its own."""
        if not self.public_uri.startswith(("http://", "https://")):
            return ""
        return f"{self.public_uri.rstrip('/')}/{self.page(self.round(number))}"

    def page(self, run: str) -> str:
        """Where a run is shown, within MLflow's pages."""
        return f"#/experiments/{self.experiment}/runs/{run}?{PAGE}"

    def rounds(self) -> list[Any]:
        """Child runs, by round number."""
        where = f"tags.`mlflow.parentRunId` = {quoted(self.parent)} and tags.`selfemo.kind` = 'round'"
        runs = self.client.search_runs([self.experiment], where)
        return sorted(runs, key=lambda r: int(r.data.tags["selfemo.round"]))

    def _find(self, tags: dict[str, str], name: str) -> str:
        """Id of the run with these tags, made if need be; of several, of the first, whoever asks."""
        experiment = self.experiment

        def find_or_make(mlflow: Any) -> str:
            if known := _first(mlflow, experiment, tags):
                return known
            made = mlflow.create_run(experiment, tags=tags, run_name=name)
            # An earlier request whose answer got lost may have made one as well.
            return _first(mlflow, experiment, tags) or str(made.info.run_id)

        return self.client.patiently(find_or_make)

    def params(self, run: str, values: Mapping[str, Any]) -> None:
        """Log parameters; a value that changed since an earlier attempt is kept as a tag, since MLflow's are final."""
        from mlflow.entities import Param

        data = self.client.get_run(run).data
        known, changed = data.params, data.tags
        kept = {key: str(value)[:PARAMETER] for key, value in values.items()}
        new = [Param(key, value) for key, value in kept.items() if key not in known]
        self.client.log_batch(run, params=new)
        for key, value in kept.items():
            if changed.get(f"changed.{key}", known.get(key, value)) != value:  # also where it is again what it was
                self.client.set_tag(run, f"changed.{key}", value)

    def metrics(self, run: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Log metrics over steps."""
        self.log(run, points(rows))

    def metrics_once(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Log metrics of a step but those that were logged already, as by a run that is started again."""

        def known(key: str) -> float | None:
            history = [m for m in self.client.get_metric_history(run, key) if m.step == step]
            return max(history, key=lambda m: int(m.timestamp)).value if history else None

        self.metrics(run, [(step, {key: value for key, value in values.items() if known(key) != value})])

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
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        # Not by MlflowClient.log_artifact: it keeps a run's place by the run's id alone, for the whole process, and so
        # sends the files of a server that has moved to where it was.
        where = self.client.get_run(run).info.artifact_uri
        place = get_artifact_repository(where, tracking_uri=self.client.uri)

        def put(_: Any) -> None:
            for file in files:
                place.log_artifact(str(file), folder)

        self.client.patiently(put)

    def reopen(self, run: str) -> None:
        """Mark a run as running again: it was interrupted, or is being resumed."""
        self.client.update_run(run, status="RUNNING")

    def finish(self, run: str, status: str = "FINISHED") -> None:
        """Close a run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self.client.set_terminated(run, status)


def _first(mlflow: Any, experiment: str, tags: Mapping[str, str]) -> str | None:
    """Id of the first run of an experiment with some tags."""
    found = mlflow.search_runs([experiment], " and ".join(f"tags.`{k}` = {quoted(v)}" for k, v in tags.items()))
    return min(((r.info.start_time, r.info.run_id) for r in found), default=(0, None))[1]
