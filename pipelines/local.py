"""Run the compiled pipeline on this machine: ``python -m pipelines.local CONFIG.json``.

The same checked-in form that a cluster runs, under KFP's SubprocessRunner: every step is a process of its own.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfemo import processes
from selfemo.config import Config
from selfemo.config.cluster import ClusterSettings
from selfemo.errors import Exit
from selfemo.local import forkserver
from selfemo.places import temporary
from selfemo.unexpected import told

HEAVY = (
    "kfp.dsl.executor_main",
    "torch",
    "transformers:AutoTokenizer",
    "transformers:AutoModelForCausalLM",
    "mlflow",
    "boto3",
    "scipy.stats",
    "sklearn.linear_model",
    "sklearn.feature_extraction.text",
    "trl:GRPOTrainer",
    "altair",
    "vl_convert",
    "selfemo.steps",
    "selfemo.report.kubeflow",
    "selfemo.report.page",
)
"""What steps import, and takes long."""


def form_of(config: Config, directory: Path) -> Path:
    """The form that runs a configuration here: the checked-in one wherever it will do.

    Pods do not matter here, but training steps are told for which ``cluster.trainer`` they were compiled: for another
    than the checked-in form's, the form is compiled anew.

    Args:
        config: Of the run.
        directory: Empty; what is compiled is written there.
    """
    from components.images import Images
    from pipelines.compile import compile_to, form_for

    if config.cluster.trainer == ClusterSettings().trainer:
        return form_for(config.loop.rounds)
    return compile_to(directory, config.cluster, Images.from_environment(), (config.loop.rounds,))[0]


def run(config: Config) -> bool:
    """Run the loop; whether it succeeded."""
    warnings.filterwarnings("ignore")
    from kfp import components, local

    with temporary("forms") as forms:
        form = form_of(config, forms).read_text(encoding="utf-8")
        pipeline = components.load_component_from_text(for_here(form))
    with temporary("outputs") as outputs:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(outputs), raise_on_error=True)
        try:
            with steps_that_start_at_once(), _temporary_files_in(outputs / "tmp"):
                pipeline(config=config.to_json())
        except RuntimeError as error:  # what KFP raises for a failed task; its log stands above
            print(error, file=sys.stderr)
            return False
    return True


def for_here(form: str) -> str:
    """A form as KFP's local runner takes it: it says of no time when it was scheduled, and waits for nothing.

    The runner falls over that placeholder. And a step that failed here does no better in half a minute, which is for
    pods that were lost with their node.

    Args:
        form: The text of a compiled form.
    """
    from kfp import dsl

    from pipelines.place import BACKOFF

    form = form.replace(dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER, "")
    return form.replace(f"backoffDuration: {BACKOFF}", "backoffDuration: 0s")


@contextmanager
def steps_that_start_at_once() -> Iterator[None]:
    """KFP starts steps with this process's own Python: where it can be, that is one that has the libraries loaded."""
    if not forkserver.possible():
        yield
        return
    own = sys.executable
    with forkserver.python3(HEAVY) as directory:
        sys.executable = str(directory / "python3")
        try:
            yield
        finally:
            sys.executable = own


@contextmanager
def _temporary_files_in(directory: Path) -> Iterator[None]:
    """KFP's command of a step makes a directory for temporary files and leaves it: here it goes with the outputs."""
    directory.mkdir()
    before, os.environ["TMPDIR"] = os.environ.get("TMPDIR"), str(directory)
    try:
        yield
    finally:
        del os.environ["TMPDIR"]
        if before is not None:
            os.environ["TMPDIR"] = before


def main() -> int:
    """Entry point."""
    if parent := os.environ.get(processes.CHILD):
        processes.die_with_parent(int(parent), group=True)
    try:
        config = Config.from_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
        return Exit.DONE if run(config) else Exit.NO
    except Exception as error:
        words, code = told(error)
        print(words, file=sys.stderr)
        return code


if __name__ == "__main__":
    sys.exit(main())
