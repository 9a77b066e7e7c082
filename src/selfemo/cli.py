"""The command line. Everything heavy is imported inside the commands: ``selfemo --help`` answers at once."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from selfemo import __version__
from selfemo.cli_data import data
from selfemo.errors import UserError

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.context import Context

F = TypeVar("F", bound=Callable[..., Any])


class Cli(click.Group):
    """Turns errors that are the user's to mend into one message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"selfemo: {error}", err=True)
            sys.exit(2)
        except Exception as error:
            # A server of the user's own that cannot be used is theirs to mend; anything else is a defect of ours.
            if type(error).__module__.split(".")[0] not in ("botocore", "boto3", "mlflow", "requests", "urllib3"):
                raise
            click.echo(f"selfemo: S3 or MLflow: {error}\n  fix: check store, mlflow and credentials", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("selfemo: interrupted; the same command goes on from here", err=True)
            sys.exit(130)


def configured(command: F) -> F:
    """Give a command ``--config`` and ``--set``, and hand it the configuration."""

    @click.option("--config", "path", type=click.Path(path_type=Path), help="YAML file; default: all defaults.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, e.g. loop.rounds=3.")
    @functools.wraps(command)
    def wrapped(path: Path | None, overrides: tuple[str, ...], **rest: Any) -> Any:
        from selfemo import config, logs
        from selfemo.cluster.trainjob import CONFIG

        logs.configure()
        given = os.environ.get(CONFIG)  # how a TrainJob's pods are told theirs
        if given and path is None and not overrides:
            return command(config.Config.from_json(given), **rest)
        return command(config.load(path, overrides), **rest)

    return wrapped  # type: ignore[return-value]


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """A data flywheel for emotion in conversation: self-play, filter, SELF-GRPO, evaluate, promote.

    \b
    Example:
      selfemo run --config configs/demo.yaml
    """


@main.command()
@configured
def run(config: Config) -> None:
    """Run the whole loop on this machine, through the compiled Kubeflow pipeline.

    Running the same configuration again resumes it: finished steps return at once.

    \b
    Example:
      selfemo run --config configs/demo.yaml --set loop.rounds=3
    """
    from selfemo.context import Context
    from selfemo.runner import run_pipeline

    _check_inputs(config)
    context = Context(config)
    click.echo(f"run {config.run}: {config.loop.rounds} rounds of {config.policy.base}", err=True)
    if context.embedded:
        click.echo(f"embedded servers: {', '.join(context.embedded)} (first start takes about 20 s)", err=True)
        _ = context.services
    succeeded = run_pipeline(context)
    folder = context.workdir / "runs" / config.run
    _show(context)
    if not succeeded:
        page = folder / "report.html"
        error = context.registry.client.get_run(context.registry.parent).data.tags.get("selfemo.error", "")
        click.echo(f"the run failed; see {folder / 'run.log'} and {page}\n{error}", err=True)
        click.echo("fix the cause and give the same command: finished steps are kept", err=True)
        sys.exit(1)


@main.command("compile")
@configured
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory for what is compiled.")
def compile_(config: Config, out: Path) -> None:
    """Compile the pipeline for a cluster: plain YAML, and Pipeline and PipelineVersion manifests for GitOps.

    Pods ask for what the configuration's cluster section gives them. Images come from SELFEMO_IMAGE_PIPELINE,
    SELFEMO_IMAGE_GENERATION and SELFEMO_IMAGE_TRAINING: name them by digest. The same input gives the same bytes.

    \b
    Example:
      selfemo compile --config configs/qwen3-4b.yaml --set cluster.profile=node8 --out build/
    """
    from selfemo.runner import in_checkout

    sys.exit(in_checkout("pipelines.compile", config, "--config", "CONFIG", "--out", str(out.absolute())))


@main.command()
@configured
@click.option("--wait", is_flag=True, help="Follow the run; the exit code is its outcome.")
@click.option("--recurring", metavar="CRON", help="Make it a schedule, such as '0 0 3 * * *': with seconds first.")
def submit(config: Config, wait: bool, recurring: str | None) -> None:
    """Run the loop on a cluster, through Kubeflow Pipelines; prints the run's id.

    The same command again finds the run that is active. One that failed is started anew, and finished steps return
    at once. A bearer token is read from SELFEMO_KFP_TOKEN.

    \b
    Example:
      selfemo submit --config configs/qwen3-4b.yaml --set cluster.host=https://kfp.example.org --wait
    """
    from selfemo.runner import in_checkout

    flags = [*(["--wait"] if wait else []), *(["--recurring", recurring] if recurring else [])]
    sys.exit(in_checkout("pipelines.submit", config, "CONFIG", *flags))


@main.command("dry-run")
@configured
def dry_run(config: Config) -> None:
    """Run the loop once with everything small, on a randomly initialised model of the base's architecture.

    It says in minutes whether corpora, tokenizer, engine, launch and services work together here. Its figures mean
    nothing.

    \b
    Example:
      selfemo dry-run --config configs/qwen3-4b.yaml
    """
    from selfemo import dryrun
    from selfemo.context import Context
    from selfemo.runner import run_pipeline

    _check_inputs(config)
    small, parameters = dryrun.prepare(config)
    click.echo(f"dry run: {parameters:,} parameters in place of {config.policy.base}", err=True)
    if not run_pipeline(Context(small)):
        click.echo(f"the dry run failed; see {Context(small).workdir / 'runs' / small.run / 'run.log'}", err=True)
        sys.exit(1)
    click.echo(dryrun.verdict(small))


def _check_inputs(config: Config) -> None:
    """Find what is wrong with the input before anything is started."""
    from selfemo.corpora import load_corpora

    load_corpora(config)


def _show(context: Context) -> None:
    """The table, and where to look next."""
    from rich.console import Console

    from selfemo import steps
    from selfemo.table import rich_table

    rows = steps.finished_rounds(context)
    console = Console(width=None if sys.stdout.isatty() else 130)
    if rows:
        console.print(rich_table(rows, f"{context.config.run} on {context.config.corpora[0].name}"))
    champion = context.registry.alias("champion")
    if champion is not None:
        console.print(
            f"champion: models:/{context.registry.model}@champion is version {champion.version}", soft_wrap=True
        )
    console.print(f"MLflow:   {context.registry.tracking_uri}", soft_wrap=True)
    console.print(f"report:   {context.workdir / 'runs' / context.config.run / 'report.html'}", soft_wrap=True)
    if context.embedded:
        console.print("servers go on running; stop them with: selfemo services stop", soft_wrap=True)


@main.command()
@configured
@click.option("--policy", required=True, help="Weights: URI of a step's artifact, models:/..., a directory, a hub id.")
@click.option("--prepared", required=True, help="URI of the prepared data.")
@click.option("--round", "number", default=1, show_default=True, help="Number of the round.")
def generate(config: Config, policy: str, prepared: str, number: int) -> None:
    """Self-play of one round; prints the URI of the rollouts.

    \b
    Example:
      selfemo generate --policy models:/self-emo@champion --prepared s3://selfemo/demo/round-0/prepare-1f0c...
    """
    from selfemo import steps

    click.echo(steps.generate(config, policy, prepared, number).uri)


@main.command("filter")
@configured
@click.option("--rollouts", required=True, help="URI of the rollouts.")
@click.option("--round", "number", default=1, show_default=True, help="Number of the round.")
def filter_(config: Config, rollouts: str, number: int) -> None:
    """Keep what is worth training on; prints the URI of the samples and what was rejected, by reason.

    \b
    Example:
      selfemo filter --rollouts s3://selfemo/demo/round-1/generate-5d2a... --set flywheel.tau_low=0.4
    """
    from selfemo import steps

    done = steps.filter(config, rollouts, number)
    click.echo(done.uri)
    for reason, count in sorted(done.result["reasons"].items(), key=lambda item: -item[1]):
        click.echo(f"  {reason:<16} {count:>6}")


@main.command()
@configured
@click.option("--policy", help="URI of the round's policy; without it, the supervised warm-up is trained.")
@click.option("--samples", help="URI of the training samples.")
@click.option("--prepared", help="URI of the prepared data.")
@click.option("--round", "number", default=1, show_default=True, help="Number of the round.")
def train(config: Config, policy: str | None, samples: str | None, prepared: str | None, number: int) -> None:
    """Train with SELF-GRPO on samples, or warm up on prepared data; prints the URI of the policy.

    With launch.processes or launch.strategy set it starts the processes itself; under torchrun it is one of them.

    \b
    Examples:
      selfemo train --prepared s3://selfemo/demo/round-0/prepare-1f0c...
      selfemo train --prepared s3://... --policy s3://.../warmup-77ab... --samples s3://.../filter-08c1...
    """
    from selfemo import steps
    from selfemo.training import launch

    if launch.launched():
        launch.die_with_parent()
    if prepared and policy and samples:
        uri = steps.train(config, policy, samples, prepared, number).uri
    elif prepared and not policy and not samples:
        uri = steps.warmup(config, prepared).uri
    else:
        fix = "give --prepared alone, or --prepared, --policy and --samples"
        raise UserError("nothing to train on", where="selfemo train", fix=fix)
    if launch.rank() == 0:
        click.echo(uri)


@main.command()
@configured
@click.option("--policy", required=True, help="Weights: URI, models:/name@alias, a directory, a hub id.")
@click.option("--corpus", help="Evaluate on this corpus instead of the configuration's.")
@click.option("--path", "directory", help="Directory of that corpus.")
@click.option("--out", type=click.Path(path_type=Path), help="Also keep predictions, metrics and plots here.")
def evaluate(config: Config, policy: str, corpus: str | None, directory: str | None, out: Path | None) -> None:
    """Score a policy on held-out dialogues.

    \b
    Example:
      selfemo evaluate --policy models:/self-emo@champion --corpus meld --path ../data/meld
    """
    from selfemo.measure import evaluate_policy

    if corpus:
        from selfemo.config import Config

        data = config.model_dump(mode="json") | {"corpora": [{"name": corpus, "path": directory}]}
        config = Config.model_validate(data)
    evaluate_policy(config, policy, out)


@main.command()
@configured
@click.option("--version", "number", required=True, help="Version of the registered model.")
@click.option("--force", is_flag=True, help="Promote against the gate.")
@click.option("--reason", help="Why; needed with --force.")
def promote(config: Config, number: str, force: bool, reason: str | None) -> None:
    """Make a version the champion, if the gate finds it better than the present one.

    \b
    Example:
      selfemo promote --version 3
    """
    from selfemo.promotion import promote_version

    if force and not reason:
        raise UserError("--force needs --reason", where="selfemo promote", fix='say why: --reason "..."')
    click.echo(promote_version(config, number, force=force, reason=reason))


@main.command()
@configured
@click.option("--reason", required=True, help="Why.")
def rollback(config: Config, reason: str) -> None:
    """Make the previous champion champion again.

    \b
    Example:
      selfemo rollback --reason "answers in capitals"
    """
    from selfemo.context import Context

    was, now = Context(config).registry.rollback(reason)
    click.echo(f"champion of {config.mlflow.model}: version {now} (was {was})")


@main.command()
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


@main.command()
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


@main.command()
@click.option(
    "--plan", type=click.Path(path_type=Path), required=True, help="YAML file, such as configs/study/meld.yaml."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("docs/results"), show_default=True, help="Directory."
)
@click.option("--only", multiple=True, help="Run only what begins so, e.g. 32-self-emo-1.")
@click.option("--write-only", is_flag=True, help="Run nothing; write the table and plots from what is finished.")
def study(plan: Path, out: Path, only: tuple[str, ...], write_only: bool) -> None:
    """Compare arms over label budgets and seeds; finished runs are kept, and the same command goes on.

    \b
    Example:
      selfemo study --plan configs/study/meld.yaml --only 32-
    """
    from selfemo import logs
    from selfemo.study.command import study as run_study

    logs.configure()
    table = run_study(plan, out, only, write_only)
    click.echo(table if table else "nothing is finished yet")


main.add_command(data)
