"""The command line. Everything heavy is imported inside the commands: ``selfemo --help`` answers at once."""

from __future__ import annotations

import click

from selfemo import __version__
from selfemo.cli import cluster, registry, run, steps
from selfemo.cli.annotate import annotate
from selfemo.cli.base import Cli
from selfemo.cli.canary import canary
from selfemo.cli.collect import collect
from selfemo.cli.completion import completion
from selfemo.cli.data import data
from selfemo.cli.doctor import doctor
from selfemo.cli.drift import drift
from selfemo.cli.feedback import feedback
from selfemo.cli.gc import gc
from selfemo.cli.play import play
from selfemo.cli.report import report
from selfemo.cli.review import review
from selfemo.cli.runs import compare, runs
from selfemo.cli.watch import watch


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """A data flywheel for emotion in conversation: self-play, filter, SELF-GRPO, evaluate, promote.

    \b
    Example:
      selfemo run --config configs/demo.yaml
    """


for command in (
    doctor,
    run.run,
    run.dry_run,
    run.study,
    run.services,
    run.ui,
    watch,
    runs,
    compare,
    report,
    cluster.compile_,
    cluster.submit,
    cluster.reap_trainjobs,
    steps.generate,
    steps.filter_,
    steps.train,
    steps.evaluate,
    registry.promote,
    registry.rollback,
    canary,
    registry.sync_registry,
    registry.stopped_rounds,
    registry.serve,
    collect,
    play,
    annotate,
    registry.fetch,
    data,
    feedback,
    review,
    drift,
    gc,
    completion,
):
    main.add_command(command)
