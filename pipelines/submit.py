"""Run the pipeline on a cluster: ``python -m pipelines.submit CONFIG.json [--wait | --recurring CRON | --again N]``.

Safe to repeat: pipeline and version are there once by name and content, an active run or schedule of the same name is
found again, and a run that failed is started anew, whose finished steps return at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from components.images import Images
from pipelines import forms
from pipelines.admission import admit
from pipelines.compile import compile_to, version_of
from pipelines.cron import checked
from pipelines.kubeflow import connect, ended, listed, named, say, spoken
from pipelines.view import follow
from pipelines.watch import active
from selfemo import cycles
from selfemo.cluster.trainjob import WORKDIR
from selfemo.config import Config
from selfemo.errors import Exit, UserError
from selfemo.places import temporary
from selfemo.runs.view import drawable


class Submission:
    """A configuration on its way to a cluster.

    Args:
        config: Of the run.
        client: A kfp.Client.
        form: The compiled pipeline, such as Git has it; None compiles it from this checkout.
        images: That steps run in, where it is compiled.
        cycle: Name of the cycle, for a run of a schedule that is started by hand.
        poll: Seconds between two looks.
    """

    def __init__(
        self,
        config: Config,
        client: Any,
        form: Path | None = None,
        images: Images | None = None,
        cycle: str = "",
        poll: float = 10.0,
    ) -> None:
        self.config, self.client, self.form, self.poll = config, client, form, poll
        self.images = images or Images.from_environment()
        self.name = cycles.of(config, cycle).run
        # Where Kubeflow is seen from here is no part of the run: a laptop and the schedule's Job see it elsewhere.
        cluster = config.cluster.model_copy(update={"host": ""})
        there = config.model_copy(update={"workdir": WORKDIR, "cluster": cluster})
        self.parameters = {"config": there.to_json(), "cycle": cycle}
        self.namespace = client.get_user_namespace() or None
        self.experiment = str(
            client.create_experiment(config.cluster.experiment, namespace=self.namespace).experiment_id
        )

    @cached_property
    def version(self) -> tuple[str, str, str]:
        """Ids of pipeline and version, and its name; uploaded if they are not there: it is named by its content."""
        with self._form() as form:
            wanted, name = pipeline_of(form), version_of(form)
            pipeline = next(
                (
                    p.pipeline_id
                    for p in listed(self.client.list_pipelines, "pipelines", namespace=self.namespace)
                    if wanted in (p.display_name, getattr(p, "name", None))
                ),
                None,
            )
            if pipeline is None:
                made = self.client.upload_pipeline(str(form), wanted, namespace=self.namespace)
                pipeline = made.pipeline_id
            for version in listed(self.client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline):
                if name in (version.display_name, getattr(version, "name", None)):
                    return pipeline, version.pipeline_version_id, name
            uploaded = self.client.upload_pipeline_version(str(form), name, pipeline_id=pipeline)
            return pipeline, uploaded.pipeline_version_id, name

    def runs(self) -> list[Any]:
        """The runs of this name, the newest first."""
        found = listed(
            self.client.list_runs,
            "runs",
            experiment_id=self.experiment,
            namespace=self.namespace,
            sort_by="created_at desc",
            filter=named(self.name),
        )
        return [run for run in found if run.display_name == self.name]

    def run(self) -> str:
        """Id of the run of this name: the one that is active, or a new one.

        Raises:
            UserError: If the active one has another configuration.
        """
        for run in self.runs():
            if not active(run):
                continue
            if (run.runtime_config.parameters or {}).get("config") != self.parameters["config"]:
                raise UserError(
                    f"a run named {self.name} is active with another configuration",
                    where=f"run {run.run_id}",
                    fix="wait for it, terminate it in the user interface, or set another run name",
                )
            say(f"run {self.name} is already active")
            return str(run.run_id)
        pipeline, version, named = self.version
        started = self.client.run_pipeline(
            self.experiment,
            self.name,
            params=self.parameters,
            pipeline_id=pipeline,
            version_id=version,
            enable_caching=False,
            service_account=self.config.cluster.service_account,
        )
        say(f"run {self.name} is started: version {named}")
        return str(started.run_id)

    def wait(self, run: str) -> str:
        """Follow a run to its end, as a view on a terminal, else a line for each step that changes; how it ended."""
        return follow(self.client, run, self.config, self.name, self.poll, live=drawable(sys.stderr))

    def see_through(self, run: str, resume: int) -> bool:
        """Run, wait, and run again what failed; whether it succeeded in the end.

        Kubeflow starts no step anew whose program failed, nor a driver's pod that was lost: a new run of the same name
        does both, and what is finished returns at once.

        Args:
            run: Id of the run that was started, or found active.
            resume: Times that a failed run is started again.
        """
        for left in range(resume, -1, -1):
            ended = self.wait(run)
            if ended == "SUCCEEDED":
                return True
            if ended == "CANCELED":  # somebody wanted it to end
                return False
            if left:
                say(f"run {self.name} is started again; {left - 1} more times if it fails")
                run = self.run()
        return False

    @contextmanager
    def _form(self) -> Iterator[Path]:
        if self.form is not None:
            yield self.form
            return
        with temporary("form") as directory:
            yield compile_to(directory, self.config.cluster, self.images, (self.config.loop.rounds,))[0]


def pipeline_of(form: Path) -> str:
    """Name of the pipeline that a form is.

    Raises:
        UserError: If the file is no compiled pipeline.
    """
    try:
        return str(forms.parse(form.read_text(encoding="utf-8"))[0]["pipelineInfo"]["name"])
    except (OSError, yaml.YAMLError, UnicodeDecodeError, IndexError, KeyError, TypeError):
        raise UserError("no compiled pipeline", where=str(form), fix="write it with `make compile`") from None


def room_of(form: Path, config: Config) -> int:
    """Rounds that a form has room for: all that are wanted; 0 if it is no form of the loop's.

    Raises:
        UserError: If it has fewer: the run would end before its last round.
    """
    found = re.fullmatch(r"selfemo-(\d+)", pipeline_of(form))
    room = int(found[1]) if found else 0
    if found and room < config.loop.rounds:
        raise UserError(
            f"the form has room for {room} rounds, and loop.rounds is {config.loop.rounds}",
            where=str(form),
            fix="compile it for that configuration (`make compile` for an overlay), or ask for fewer rounds",
        )
    return room


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--form", type=Path)
    parser.add_argument("--cycle", default="")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--resume", type=int, default=0)
    parser.add_argument("--recurring", metavar="CRON")
    parser.add_argument("--again", type=int, metavar="N")
    given = parser.parse_args()
    return ended(lambda: _main(given), "interrupted; the run goes on, and the same command finds it")


def _main(given: argparse.Namespace) -> Exit:
    from pipelines import schedule  # which is made of submissions

    if given.resume and not given.wait:
        raise UserError("nobody would see that the run failed", where="--resume", fix="give --wait as well")
    recurring = given.recurring is not None  # empty is no schedule, and no reason to run once
    if recurring:
        checked(given.recurring)
    if given.again is not None and (recurring or given.cycle or given.wait):
        raise UserError("the last cycle of the schedule is meant", where="--again", fix="give it alone")
    if recurring and (given.cycle or given.wait):
        raise UserError("a schedule is made, not run", where="--recurring", fix="leave out --cycle and --wait")
    config = Config.from_json(given.config.read_text(encoding="utf-8"))
    say(admit(config, room_of(given.form, config) if given.form else 0))
    with redirect_stdout(sys.stderr), spoken(config):  # kfp prints links there; ours is the id alone
        submission = Submission(config, connect(config), given.form, cycle=given.cycle)
        if given.again is not None:
            made = schedule.again(submission, given.again)
        else:
            made = schedule.recurring(submission, given.recurring) if recurring else submission.run()
    if made is None:
        return Exit.DONE
    print(made, flush=True)
    if not given.wait:
        return Exit.DONE
    with spoken(config):
        return Exit.DONE if submission.see_through(made, given.resume) else Exit.NO


if __name__ == "__main__":
    sys.exit(main())
