"""Whole runs on this machine: the loop, a dry run of it, a study, the servers and their pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfemo.cli.base import configured, surroundings
from selfemo.cli.output import Report, reports
from selfemo.errors import Exit, UserError
from selfemo.logs import shown

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.context import Context


@click.command()
@configured
@reports("run", "succeeded", "error", "rounds", "champion", "mlflow", "report")
def run(config: Config) -> Report:
    """Run the whole loop on this machine, through the compiled Kubeflow pipeline.

    Running the same configuration again resumes it: finished steps return at once.

    \b
    Example:
      selfemo run --config configs/demo.yaml --set loop.rounds=3
    """
    from selfemo import hardware
    from selfemo.context import Context
    from selfemo.local.runner import run_pipeline

    _check_inputs(Context(config))
    context = surroundings(config, start=True)
    click.echo(f"run {config.run}: {config.loop.rounds} rounds of {config.policy.base}", err=True)
    click.echo(f"machine: {hardware.describe()}", err=True)
    if context.embedded:
        click.echo(f"embedded servers: {', '.join(context.embedded)} (first start takes about 20 s)", err=True)
        _ = context.services
    ended = run_pipeline(context)
    folder = context.workdir / "runs" / config.run
    values: dict[str, Any] = dict(succeeded=ended.succeeded, error=ended.error, rounds=[], champion=None)
    values |= {"run": config.run, "mlflow": context.registry.public_uri, "report": folder / "report.html"}
    try:
        values |= _show(context)
    except UserError as error:  # MLflow may be what failed
        if ended.succeeded:
            raise
        click.echo(f"no table: {error}", err=True)
    if not ended.succeeded:
        click.echo(f"the run failed; see {folder / 'run.log'} and {folder / 'report.html'}", err=True)
        click.echo("fix the cause and give the same command: finished steps are kept", err=True)
        click.echo(f"selfemo: {shown(ended.error)}", err=True)
    return Report(values, exit=Exit.DONE if ended.succeeded else Exit.NO)


@click.command("dry-run")
@configured
@reports("run", "succeeded", "error", "parameters")
def dry_run(config: Config) -> Report:
    """Run the loop once with everything small, on a randomly initialised model of the base's architecture.

    It says in minutes whether corpora, tokenizer, engine, launch and services work together here. Its figures mean
    nothing.

    \b
    Example:
      selfemo dry-run --config configs/qwen3-4b.yaml
    """
    from selfemo import services as servers
    from selfemo.context import Context
    from selfemo.local import dryrun
    from selfemo.local.runner import run_pipeline

    context = Context(config)
    ours = not servers.status(context.workdir).processes
    _check_inputs(context)
    try:
        small, parameters = dryrun.prepare(config)
        click.echo(f"dry run: {parameters:,} parameters in place of {config.policy.base}", err=True)
        ended = run_pipeline(surroundings(small, start=True))
        said = dryrun.outcome(small) if ended.succeeded else ""
    except BaseException:
        if ours:
            servers.stop(context.workdir)
        raise
    values = {"run": small.run, "succeeded": ended.succeeded, "error": ended.error, "parameters": parameters}
    if ended.succeeded:
        return Report(values, said)
    if ours:
        servers.stop(context.workdir)
    click.echo(f"the dry run failed; see {context.workdir / 'runs' / small.run / 'run.log'}", err=True)
    click.echo(f"selfemo: {shown(ended.error)}", err=True)
    return Report(values, exit=Exit.NO)


def _check_inputs(context: Context) -> None:
    """Find what is wrong with the input before anything is started."""
    from selfemo.local.inputs import check_models
    from selfemo.method.reader import doubts
    from selfemo.steps.prepare import corpora_of, divide_corpora

    config = context.config
    config.check_dealt_out("train")
    check_models(context)
    corpora = corpora_of(config)
    divide_corpora(config, corpora)
    for doubt in doubts(config.evaluation.judge, corpora.training) if config.evaluation.replies else []:
        click.echo(shown(f"selfemo: {doubt}"), err=True)


def _show(context: Context) -> dict[str, Any]:
    """Print the table, and where to look next; rounds and champion as they were shown."""
    from selfemo import steps
    from selfemo.report.table import show_rounds

    rows = steps.finished_rounds(context)
    if rows:
        show_rounds(rows, f"{context.config.run} on {context.config.corpora[0].name}")
    champion = context.registry.versions.alias("champion")
    if champion is not None:
        click.echo(f"champion: models:/{context.registry.model}@champion is version {champion.version}")
    click.echo(f"MLflow:   {context.registry.public_uri}")
    click.echo(f"report:   {context.workdir / 'runs' / context.config.run / 'report.html'}")
    if context.embedded:
        click.echo("servers go on running; stop them with: selfemo services stop")
    return {"rounds": rows, "champion": str(champion.version) if champion else None}


@click.command()
@click.argument("action", type=click.Choice(["start", "stop", "status"]))
@configured
@reports("running", "stopped")
def services(config: Config, action: str) -> Report:
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
        said = f"stopped: {', '.join(stopped)}" if stopped else "nothing was running"
        return Report({"running": [], "stopped": stopped}, said)
    running = (context.services if action == "start" else servers.status(context.workdir)).processes
    lines = [f"{name:<8} {process.url}  pid {process.pid}" for name, process in running.items()]
    rows = [{"name": name, "url": process.url, "pid": process.pid} for name, process in running.items()]
    return Report({"running": rows, "stopped": []}, "\n".join(lines) or "nothing is running")


@click.command()
@configured
@click.option("--open", "browse", is_flag=True, help="Open the pages in a browser.")
@reports("run", "mlflow", "report")
def ui(config: Config, browse: bool) -> Report:
    """Show where the run is in the MLflow UI, its experiment, and the run's report.

    Embedded servers that do not run are not started: `selfemo services start` does.

    \b
    Example:
      selfemo ui --config configs/demo.yaml --open
    """
    from selfemo.context import Context

    page = Context(config).workdir / "runs" / config.run / "report.html"
    pages = {"run": None, "mlflow": None, "report": page.as_uri() if page.exists() else None}
    try:
        pages["run"], pages["mlflow"] = surroundings(config, needs=("mlflow",)).registry.pages()
    finally:  # the report is a file: it is there without a server
        for url in filter(None, pages.values()):
            click.echo(url)
            if browse:
                click.launch(url)
    return Report(pages)


@click.command()
@click.option(
    "--plan", type=click.Path(path_type=Path), required=True, help="YAML file, such as configs/study/meld.yaml."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("docs/results"), show_default=True, help="Directory."
)
@click.option("--only", multiple=True, help="Run only what begins so, e.g. 32-self-emo-1.")
@click.option("--write-only", is_flag=True, help="Run nothing; write the table and plots from what is finished.")
@reports("table", "finished", "missing")
def study(plan: Path, out: Path, only: tuple[str, ...], write_only: bool) -> Report:
    """Compare variants over label budgets and seeds; finished runs are kept, and the same command goes on.

    \b
    Example:
      selfemo study --plan configs/study/meld.yaml --out docs/results/exact --only 32-
    """
    from selfemo import logs
    from selfemo.study.command import standing
    from selfemo.study.command import study as run_study

    logs.configure()
    table = run_study(plan, out, only, write_only)
    finished, missing = standing(plan, out)
    values = {"table": table, "finished": finished, "missing": missing}
    return Report(values, str(table) if table else "nothing is finished yet")
