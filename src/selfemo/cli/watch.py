"""``selfemo watch``: how a run goes, while it goes or afterwards, on this machine or on a cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from selfemo.cli.base import configured, surroundings

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.context import Context
    from selfemo.runs.going import Going

SECONDS, SECONDS_OF_RECORDS = 0.5, 10.0
"""Between two looks at a run on this machine, and at records of one elsewhere."""


@click.command()
@configured
@click.argument("name", metavar="[RUN]", required=False)
@click.option("--cluster", is_flag=True, help="Look on the cluster, whatever is on this machine.")
def watch(config: Config, name: str | None, cluster: bool) -> None:
    """Show how a run goes: rounds, steps, shards, rates, when it will be over, what was kept last, what waits.

    Without RUN it is the configuration's, or where none is given the one in which something happened last on this
    machine. A run on a cluster is looked up where cluster.host says. On a terminal it is a view, else lines. The run
    does not notice; the exit code is 1 if it did not end well.

    \b
    Example:
      selfemo watch
      selfemo watch colder --config configs/demo.yaml
    """
    from selfemo import events
    from selfemo.context import Context
    from selfemo.runs.here import newest
    from selfemo.runs.state import FINISHED, folder_of

    given = click.get_current_context().params
    settled = given.get("path") is not None or any(o.startswith("run=") for o in given.get("overrides") or ())
    context = Context(config)
    name = name or (config.run if settled else newest(context.workdir) or config.run)
    try:
        if not cluster and (folder_of(context.workdir, name) / events.FILE).exists():
            ended = _here(context, name)
        elif cluster or config.cluster.host:
            from selfemo.local.runner import in_checkout

            sys.exit(in_checkout("pipelines.view", config.model_copy(update={"run": name}), "CONFIG"))
        else:
            ended = _recorded(surroundings(config), name)
    except KeyboardInterrupt:
        click.echo("selfemo: no longer watched; the run does not notice", err=True)
        sys.exit(130)
    if ended.state.word != FINISHED:
        sys.exit(1)


def _here(context: Context, name: str) -> Going:
    """Follow a run on this machine, whose servers are not started for that."""
    from selfemo.runs.here import Here, config_of, measured
    from selfemo.runs.samples import Samples
    from selfemo.runs.view import drawable
    from selfemo.runs.watching import watch as follow

    own = config_of(context.workdir, name)
    earlier = measured(context.workdir, own) if own else {}
    samples = Samples(lambda: surroundings(own or context.config, needs=("s3",)).store)
    live, console = drawable(sys.stdout), console()
    return follow(Here(context.workdir, name).look, samples, earlier, live=live, pause=SECONDS, console=console)


def _recorded(context: Context, name: str) -> Going:
    from selfemo.runs.recorded import recorded
    from selfemo.runs.samples import Samples
    from selfemo.runs.view import drawable
    from selfemo.runs.watching import watch as follow

    samples, live = Samples(lambda: context.store), drawable(sys.stdout)
    pause = SECONDS_OF_RECORDS
    return follow(lambda: recorded(context, name), samples, {}, live=live, pause=pause, console=console())
