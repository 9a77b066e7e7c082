"""Whole runs on this machine: the loop, a dry run of it, a study, the servers and their pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfemo.cli.base import configured
from selfemo.logs import shown

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.context import Context


@click.command()
@configured
def run(config: Config) -> None:
    """Run the whole loop on this machine, through the compiled Kubeflow pipeline.

    Running the same configuration again resumes it: finished steps return at once.

    \b
    Example:
      selfemo run --config configs/demo.yaml --set loop.rounds=3
    """
    from selfemo import hardware
    from selfemo.context import Context
    from selfemo.local.runner import run_pipeline

    _check_inputs(config)
    context = Context(config)
    click.echo(f"run {config.run}: {config.loop.rounds} rounds of {config.policy.base}", err=True)
    click.echo(f"machine: {hardware.describe()}", err=True)
    if context.embedded:
        click.echo(f"embedded servers: {', '.join(context.embedded)} (first start takes about 20 s)", err=True)
        _ = context.services
    succeeded = run_pipeline(context)
    folder = context.workdir / "runs" / config.run
    _show(context)
    if not succeeded:
        page = folder / "report.html"
        error = context.registry.client.get_run(context.registry.parent).data.tags.get("selfemo.error", "")
        click.echo(f"the run failed; see {folder / 'run.log'} and {page}\n{shown(error)}", err=True)
        click.echo("fix the cause and give the same command: finished steps are kept", err=True)
        sys.exit(1)


@click.command("dry-run")
@configured
def dry_run(config: Config) -> None:
    """Run the loop once with everything small, on a randomly initialised model of the base's architecture.

    It says in minutes whether corpora, tokenizer, engine, launch and services work together here. Its figures mean
    nothing.

    \b
    Example:
      selfemo dry-run --config configs/qwen3-4b.yaml
    """
    from selfemo.context import Context
    from selfemo.local import dryrun
    from selfemo.local.runner import run_pipeline

    _check_inputs(config)
    small, parameters = dryrun.prepare(config)
    click.echo(f"dry run: {parameters:,} parameters in place of {config.policy.base}", err=True)
    if not run_pipeline(Context(small)):
        click.echo(f"the dry run failed; see {Context(small).workdir / 'runs' / small.run / 'run.log'}", err=True)
        sys.exit(1)
    click.echo(dryrun.outcome(small))


def _check_inputs(config: Config) -> None:
    """Find what is wrong with the input before anything is started."""
    from selfemo.method.reader import doubts
    from selfemo.steps.prepare import corpora_of, divide_corpora

    config.check_dealt_out("train")
    corpora = corpora_of(config)
    divide_corpora(config, corpora)
    for doubt in doubts(config.evaluation.judge, corpora.training) if config.evaluation.replies else []:
        click.echo(shown(f"selfemo: {doubt}"), err=True)


def _show(context: Context) -> None:
    """The table, and where to look next."""
    from rich.console import Console

    from selfemo import steps
    from selfemo.report.table import rich_table

    rows = steps.finished_rounds(context)
    console = Console(width=None if sys.stdout.isatty() else 130)
    if rows:
        console.print(rich_table(rows, f"{context.config.run} on {context.config.corpora[0].name}"))
    champion = context.registry.versions.alias("champion")
    if champion is not None:
        console.print(
            f"champion: models:/{context.registry.model}@champion is version {champion.version}", soft_wrap=True
        )
    console.print(f"MLflow:   {context.registry.tracking_uri}", soft_wrap=True)
    console.print(f"report:   {context.workdir / 'runs' / context.config.run / 'report.html'}", soft_wrap=True)
    if context.embedded:
        console.print("servers go on running; stop them with: selfemo services stop", soft_wrap=True)


@click.command()
@click.argument("action", type=click.Choice(["start", "stop", "status"]))
@configured
def services(config: Config, action: str) -> None:
    """Start, stop or show the embedded S3 and MLflow servers.

    \b
    Example:
      selfemo services status
    """
    from selfemo import services as servers
    from selfemo.context import Context

    context = Context(config)
    if action == "stop":
        stopped = servers.stop(context.workdir)
        click.echo(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
        return
    running = context.services if action == "start" else servers.status(context.workdir)
    for name, process in running.processes.items():
        click.echo(f"{name:<8} {process.url}  pid {process.pid}")
    if not running.processes:
        click.echo("nothing is running")


@click.command()
@configured
@click.option("--open", "browse", is_flag=True, help="Open the pages in a browser.")
def ui(config: Config, browse: bool) -> None:
    """Show where the MLflow UI and the run's report are, starting the servers if need be.

    \b
    Example:
      selfemo ui --config configs/demo.yaml --open
    """
    from selfemo.context import Context

    context = Context(config)
    page = context.workdir / "runs" / config.run / "report.html"
    pages = [f"{context.registry.tracking_uri}/#/experiments/{context.registry.experiment}"]
    pages += [page.as_uri()] if page.exists() else []
    for url in pages:
        click.echo(url)
        if browse:
            click.launch(url)


@click.command()
@click.option(
    "--plan", type=click.Path(path_type=Path), required=True, help="YAML file, such as configs/study/meld.yaml."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("docs/results"), show_default=True, help="Directory."
)
@click.option("--only", multiple=True, help="Run only what begins so, e.g. 32-self-emo-1.")
@click.option("--write-only", is_flag=True, help="Run nothing; write the table and plots from what is finished.")
def study(plan: Path, out: Path, only: tuple[str, ...], write_only: bool) -> None:
    """Compare variants over label budgets and seeds; finished runs are kept, and the same command goes on.

    \b
    Example:
      selfemo study --plan configs/study/meld.yaml --out docs/results/exact --only 32-
    """
    from selfemo import logs
    from selfemo.study.command import study as run_study

    logs.configure()
    table = run_study(plan, out, only, write_only)
    click.echo(table if table else "nothing is finished yet")
