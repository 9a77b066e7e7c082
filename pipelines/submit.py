"""Run the pipeline on a cluster: ``python -m pipelines.submit CONFIG.json [--wait] [--recurring CRON]``.

Safe to repeat: pipeline and version are there once by name and content, an active run or schedule of the same name is
found again, and a run that failed is started anew, whose finished steps return at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from components.images import Images
from pipelines.compile import compile_to, form_for, version_of
from pipelines.place import STEPS
from selfemo.cluster.trainjob import WORKDIR
from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.logs import printable

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
TOKEN = "SELFEMO_KFP_TOKEN"
"""Variable that holds the bearer token, where one is needed."""
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
"""Kubeflow's own name for the variable that says where a pod's token for it is mounted."""
FAULTS = 20
"""Looks in a row that may fail."""


class Submission:
    """A configuration on its way to a cluster.

    Args:
        config: Of the run.
        client: A kfp.Client.
        images: That steps run in.
        poll: Seconds between two looks.
    """

    def __init__(self, config: Config, client: Any, images: Images, poll: float = 10.0) -> None:
        self.config, self.client, self.images, self.poll = config, client, images, poll
        there = config.model_copy(update={"workdir": WORKDIR})
        self.parameters = {"config": there.to_json()}
        self.experiment = str(client.create_experiment(config.cluster.experiment).experiment_id)

    def version(self) -> tuple[str, str]:
        """Ids of pipeline and version, uploaded if they are not there: versions are named by their content."""
        with tempfile.TemporaryDirectory() as directory:
            compile_to(Path(directory), self.config.cluster, self.images)
            form = form_for(self.config.loop.rounds, Path(directory))
            pipeline = self.client.get_pipeline_id(form.stem)
            if pipeline is None:
                pipeline = self.client.upload_pipeline(str(form), form.stem).pipeline_id
            name = version_of(form)
            for version in self._all(
                lambda **p: self.client.list_pipeline_versions(pipeline, **p), "pipeline_versions"
            ):
                if version.display_name == name:
                    return pipeline, version.pipeline_version_id
            uploaded = self.client.upload_pipeline_version(str(form), name, pipeline_id=pipeline)
            return pipeline, uploaded.pipeline_version_id

    def run(self) -> str:
        """Id of the run of this name: the one that is active, or a new one.

        Raises:
            UserError: If the active one has another configuration.
        """
        for run in self._all(self._runs, "runs"):
            if run.display_name != self.config.run or run.state in ENDED:
                continue
            if (run.runtime_config.parameters or {}).get("config") != self.parameters["config"]:
                raise UserError(
                    f"a run named {self.config.run} is active with another configuration",
                    where=f"run {run.run_id}",
                    fix="wait for it, terminate it in the user interface, or set another run name",
                )
            say(f"run {self.config.run} is already active")
            return str(run.run_id)
        pipeline, version = self.version()
        account = self.config.cluster.service_account
        started = self.client.run_pipeline(
            self.experiment,
            self.config.run,
            params=self.parameters,
            pipeline_id=pipeline,
            version_id=version,
            enable_caching=False,
            service_account=account,
        )
        say(f"run {self.config.run} is started: version {version}")
        return str(started.run_id)

    def recurring(self, cron: str) -> str:
        """Id of the schedule of this name; one that differs is replaced."""
        pipeline, version = self.version()
        for job in self._all(self._recurring, "recurring_runs"):
            if job.display_name != self.config.run:
                continue
            given = job.pipeline_version_reference, job.trigger.cron_schedule, job.runtime_config.parameters or {}
            if (given[0].pipeline_version_id, given[1].cron, given[2]) == (version, cron, self.parameters):
                say(f"schedule {self.config.run} is already there")
                return str(job.recurring_run_id)
            self.client.delete_recurring_run(job.recurring_run_id)
            say(f"schedule {self.config.run} was another one; it is replaced")
        made = self.client.create_recurring_run(
            self.experiment,
            self.config.run,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=self.parameters,
            pipeline_id=pipeline,
            version_id=version,
            enable_caching=False,
            service_account=self.config.cluster.service_account,
        )
        say(f"schedule {self.config.run} is made: {cron}")
        return str(made.recurring_run_id)

    def wait(self, run: str) -> bool:
        """Follow a run to its end, a line for each step that changes; whether it succeeded."""
        titles = {step.title for step in STEPS.values()}
        known: dict[str, str] = {}
        faults = 0
        while True:
            try:
                found = self.client.get_run(run)
                faults = 0
            except Exception as error:
                faults += 1
                if faults >= FAULTS:
                    raise UserError(
                        f"Kubeflow Pipelines failed {FAULTS} times in a row: {type(error).__name__}",
                        where=f"run {run}",
                        fix="give the same command again: it finds the run",
                    ) from None
                say(f"Kubeflow Pipelines does not answer ({type(error).__name__}); looking again")
                time.sleep(self.poll)
                continue
            for task in (found.run_details and found.run_details.task_details) or []:
                state = task.state or "PENDING"
                if known.get(task.task_id) != state and task.display_name in titles | set(STEPS):
                    say(f"{task.display_name}: {state.lower()}")
                known[task.task_id] = state
            if found.state in ENDED:
                detail = f": {printable(found.error.message or '')}" if found.error else ""
                say(f"run {self.config.run} has ended: {found.state.lower()}{detail}")
                return bool(found.state == "SUCCEEDED")
            time.sleep(self.poll)

    def _runs(self, **page: Any) -> Any:
        return self.client.list_runs(experiment_id=self.experiment, filter=_named(self.config.run), **page)

    def _recurring(self, **page: Any) -> Any:
        return self.client.list_recurring_runs(experiment_id=self.experiment, filter=_named(self.config.run), **page)

    def _all(self, listed: Callable[..., Any], what: str) -> Iterator[Any]:
        """Everything of a listing, page by page."""
        token = ""
        while True:
            answer = listed(page_token=token, page_size=100)
            yield from getattr(answer, what) or []
            token = answer.next_page_token or ""
            if not token:
                return


def check(config: Config) -> None:
    """Whether a cluster can run this.

    Raises:
        UserError: If it names servers of this machine.
    """
    if not (config.store.root or "").startswith("s3://"):
        raise UserError(
            "a cluster cannot reach the embedded store", where="store.root", fix="set store.root to s3://bucket/prefix"
        )
    if not (config.mlflow.tracking_uri or "").startswith(("http://", "https://")):
        raise UserError(
            "a cluster cannot reach the embedded MLflow", where="mlflow.tracking_uri", fix="set it to the server's URL"
        )


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "name", "stringValue": name}]})


def say(line: str) -> None:
    """A line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


def token() -> str | None:
    """The bearer token: given, or that of a pod's service account for Kubeflow's audience; None is none."""
    if given := os.environ.get(TOKEN):
        return given
    file = os.environ.get(TOKEN_FILE)
    return Path(file).read_text(encoding="utf-8").strip() if file and Path(file).is_file() else None


def connect(config: Config) -> Any:
    """A client of Kubeflow Pipelines.

    Raises:
        UserError: If there is none at the host, or it refuses us, or a cluster cannot run the configuration.
    """
    check(config)
    warnings.filterwarnings("ignore")
    from kfp import Client

    try:
        client = Client(host=config.cluster.host or None, namespace=config.cluster.namespace, existing_token=token())
        client.list_experiments(page_size=1, namespace=config.cluster.namespace)  # made without asking anything
        return client
    except Exception as error:
        raise UserError(
            f"Kubeflow Pipelines cannot be used: {type(error).__name__}: {printable(str(error))[:300]}",
            where=f"cluster.host: {config.cluster.host or '(none)'}",
            fix=f"check the URL, and {TOKEN}",
        ) from None


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--recurring", metavar="CRON")
    given = parser.parse_args()
    try:
        config = Config.from_json(given.config.read_text(encoding="utf-8"))
        with redirect_stdout(sys.stderr):  # kfp tells of links there; ours is the id alone
            submission = Submission(config, connect(config), Images.from_environment())
            made = submission.recurring(given.recurring) if given.recurring else submission.run()
        print(made, flush=True)
        if given.recurring:
            return 0
        return 0 if not given.wait or submission.wait(made) else 1
    except UserError as error:
        say(f"selfemo: {error}")
        return 2
    except KeyboardInterrupt:
        say("selfemo: interrupted; the run goes on, and the same command finds it")
        return 130


if __name__ == "__main__":
    sys.exit(main())
