"""``selfemo watch``: how a run goes, while it goes or afterwards, on this machine or on a cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from selfemo.cli import complete
from selfemo.cli.base import configured, surroundings
from selfemo.cli.output import Report, reports
from selfemo.errors import Exit

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.context import Context
    from selfemo.runs.going import Going

SECONDS, SECONDS_OF_RECORDS = 0.5, 10.0
"""Between two looks at a run on this machine, and at records of one elsewhere."""


@click.command()
@configured
@click.argument("name", metavar="[RUN]", required=False, shell_complete=complete.runs)
@click.option("--cluster", is_flag=True, help="Look on the cluster, whatever is on this machine.")
@reports("run", "state", "detail", "rounds")
def watch(config: Config, name: str | None, cluster: bool) -> Report:
    """Show how a run goes: rounds, steps, shards, rates, when it will be over, what was accepted last, what waits.

    Without RUN it is the configuration's, or where none is given the one in which something happened last on this
    machine. A run on a cluster is looked up where cluster.host says. On a terminal it is a view, else lines. It ends
    when the run does; the run does not notice.

    \b
    Example:
      selfemo watch
      selfemo watch colder --config configs/demo.yaml
    """
    from selfemo import events
    from selfemo.context import Context
    from selfemo.runs.here import newest
    from selfemo.runs.state import folder_of

    given = click.get_current_context().params
    named = given.get("path") is not None or any(o.startswith("run=") for o in given.get("overrides") or ())
    context = Context(config)
    name = name or (config.run if named else newest(context.workdir) or config.run)
    if not cluster and (folder_of(context.workdir, name) / events.FILE).exists():
        return _ended(_here(context, name))
    if cluster or config.cluster.host:
        return _there(config.model_copy(update={"run": name}))
    return _ended(_recorded(surroundings(config), name))


def _ended(run: Going) -> Report:
    from selfemo.runs.state import RunStatus

    rows = [run.rows[round] for round in sorted(run.rows)]
    values = {"run": run.name, "state": run.state.word, "detail": run.state.detail, "rounds": rows}
    return Report(values, exit=Exit.DONE if run.state.word == RunStatus.FINISHED else Exit.NO)


def _there(config: Config) -> Report:
    """Follow a run on a cluster, in a process that knows kfp."""
    from selfemo.local.runner import in_checkout
    from selfemo.runs.view import drawable

    code, said = in_checkout("pipelines.view", config, "CONFIG", *([] if drawable(sys.stdout) else ["--lines"]))
    if code not in (Exit.DONE, Exit.NO):
        raise SystemExit(code)  # it has said why
    return Report({"run": config.run, "state": said[-1] if said else None, "detail": None, "rounds": None}, exit=code)


def _here(context: Context, name: str) -> Going:
    """Follow a run on this machine, whose servers are not started for that."""
    from selfemo.runs.here import Here, config_of, measured
    from selfemo.runs.samples import Samples
    from selfemo.runs.view import drawable
    from selfemo.runs.watching import watch as follow
    from selfemo.terminal import console

    own = config_of(context.workdir, name)
    earlier = measured(context.workdir, own) if own else {}
    samples = Samples(lambda: surroundings(own or context.config, needs=("s3",)).store)
    live, out = drawable(sys.stdout), console()
    return follow(Here(context.workdir, name).look, samples, earlier, live=live, pause=SECONDS, out=out)


def _recorded(context: Context, name: str) -> Going:
    from selfemo.runs.recorded import recorded
    from selfemo.runs.samples import Samples
    from selfemo.runs.view import drawable
    from selfemo.runs.watching import watch as follow
    from selfemo.terminal import console

    samples, live = Samples(lambda: context.store), drawable(sys.stdout)
    pause = SECONDS_OF_RECORDS
    return follow(lambda: recorded(context, name), samples, {}, live=live, pause=pause, out=console())
