"""The life of a model version: promoted, rolled back, written down in Git, served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfemo.cli import complete
from selfemo.cli.base import configured, surroundings
from selfemo.cli.output import Report, reports
from selfemo.errors import Exit, UserError

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.context import Context

STANDING = ("model", "champion", "canary", "said")
"""What :func:`standing` tells."""


def standing(context: Context, said: str) -> dict[str, Any]:
    """Which versions the registry has now, and what was said of how they came to be that, a line each."""
    from selfemo.registry.versions import CHAMPION

    champion, canary = context.registry.versions.alias(CHAMPION), context.registry.canary.running()
    numbers = {name: str(v.version) if v else None for name, v in (("champion", champion), ("canary", canary))}
    return {"model": context.registry.model, **numbers, "said": said.splitlines()}


@click.command()
@configured
@click.option("--version", "number", required=True, help="Version of the registered model.")
@click.option("--force", is_flag=True, help="Promote against the gate.")
@click.option("--reason", help="Why; needed with --force.")
@click.option("--at-once", is_flag=True, help="Make it champion without having been canary.")
@reports(*STANDING)
def promote(config: Config, number: str, force: bool, reason: str | None, at_once: bool) -> Report:
    """Make a version the champion, if the gate finds it better than the present one.

    Where the configuration has a section canary, it becomes canary first, and champion when it has served well.

    \b
    Example:
      selfemo promote --version 3
    """
    from selfemo.registry.promotion import promote_version

    if force and not reason:
        raise UserError("--force needs --reason", where="selfemo promote", fix='say why: --reason "..."')
    context = surroundings(config)
    said = promote_version(context, number, force=force, reason=reason, at_once=at_once)
    return Report(standing(context, said), said)


@click.command()
@configured
@click.option("--reason", required=True, help="Why.")
@reports(*STANDING)
def rollback(config: Config, reason: str) -> Report:
    """Make the previous champion champion again, in the registry and in Git.

    \b
    Example:
      selfemo rollback --reason "answers in capitals"
    """
    from selfemo.registry.promotion import roll_back

    context = surroundings(config)
    said = roll_back(context, reason)
    return Report(standing(context, said), said)


@click.command("sync-registry")
@configured
@click.option("--write", type=click.Path(path_type=Path), help="Only write the reference of the champion to this file.")
@reports(*STANDING)
def sync_registry(config: Config, write: Path | None) -> Report:
    """Compare the registry's champion with what Git says is served, and repair the difference.

    The registry is the truth: an alias that somebody moved by hand is followed too. Give it to a CronJob.

    \b
    Example:
      selfemo sync-registry --set gitops.repository=https://git.example.org/platform.git
    """
    from selfemo.registry.served import synchronise, wanted
    from selfemo.registry.versions import CHAMPION

    context = surroundings(config)
    if write is None:
        said = synchronise(context)
        return Report(standing(context, said), said)
    champion = context.registry.versions.alias(CHAMPION)
    if champion is None:
        raise UserError("there is no champion", where=f"models:/{config.mlflow.model}", fix="promote a version first")
    write.write_text(wanted(context, champion).to_yaml(), encoding="utf-8")
    said = f"{write}: version {champion.version} of {config.mlflow.model}"
    return Report(standing(context, said), said)


@click.command("stopped-rounds")
@configured
@click.option(
    "--within", "hours", type=click.FloatRange(min=0), default=24.0, show_default=True, help="Hours since the decision."
)
@reports("hours", "rounds")
def stopped_rounds(config: Config, hours: float) -> Report:
    """Say which rounds the collapse guard stopped lately; exit code 1 if there are any. Give it to a CronJob.

    \b
    Example:
      selfemo stopped-rounds --within 24
    """
    from selfemo.registry.stopped import stopped_rounds as asked

    found = asked(surroundings(config, needs=("mlflow",)).registry, hours)
    values = {"hours": hours, "rounds": [{"name": name, "reason": reason} for name, reason in found]}
    if not found:
        return Report(values, f"no round was stopped in the last {hours:g} h")
    return Report(values, "\n".join(f"{name}: {reason}" for name, reason in found), Exit.NO)


CONFIGURED = "<feedback.path>"
"""What `--collect` without a value stands for: an empty one may be a variable that is not set, and is refused."""


@click.command()
@configured
@click.option(
    "--policy",
    default="models:/self-emo@champion",
    show_default=True,
    help="What to serve.",
    shell_complete=complete.policies,
)
@click.option("--digest", default="", help="Refuse weights of any other digest.")
@click.option("--name", default="", help="Under which clients know it; default: the registered name.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; elsewhere, a key is needed.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port.")
@click.option(
    "--collect",
    is_flag=False,
    flag_value=CONFIGURED,
    metavar="[PLACE]",
    help="Keep conversations whose clients agree: directory or s3://...; default: feedback.path.",
)
@click.option(
    "--collect-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Of these, how many.",
)
@click.option("--collect-days", type=click.IntRange(min=1), help="Remove what is older; default: it stays.")
@click.option(
    "--redact-region", "regions", multiple=True, metavar="XX", help="Country whose telephone numbers are masked in it."
)
@click.option("--redact-command", default="", metavar="COMMAND", help="Mask with a command: a JSON string a line.")
def serve(
    config: Config,
    policy: str,
    digest: str,
    name: str,
    host: str,
    port: int,
    collect: str | None,
    collect_share: float,
    collect_days: int | None,
    regions: tuple[str, ...],
    redact_command: str,
) -> None:
    """Serve a policy: OpenAI's chat completions, and /v1/emotions for the emotions of a dialogue.

    Clients give the key in SELFEMO_SERVE_KEY as a bearer token, where it is set. With --collect, conversations are kept
    whose requests say `x-selfemo-collect: yes`, and /v1/feedback takes corrections (docs/feedback.md).

    \b
    Example:
      selfemo serve --policy models:/self-emo@champion
      curl localhost:8000/v1/emotions -H 'content-type: application/json' \\
        -d '{"turns": [{"speaker": "Ann", "text": "We won!"}]}'
    """
    from selfemo.policy import names
    from selfemo.serving.command import Collect
    from selfemo.serving.command import serve as run

    if collect is None and (collect_share != 1.0 or collect_days or regions or redact_command):
        raise UserError("nothing is kept", where="selfemo serve", fix="give --collect as well")
    place = config.feedback.path if collect == CONFIGURED else collect
    if collect is not None and not place:
        raise UserError("no place is named", where="--collect", fix="name one, or set feedback.path")
    surroundings(config, needs=names.needs(policy))
    kept = Collect(collect_share, collect_days, tuple(map(str.upper, regions)), redact_command)
    run(config, policy, name, digest, host, port, place or "", kept)


@click.command()
@configured
@click.option(
    "--policy",
    required=True,
    help="Weights: URI of a step's artifact, or models:/...",
    shell_complete=complete.policies,
)
@click.option("--digest", default="", help="Refuse weights of any other digest.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory for the files.")
@reports("policy", "digest", "out")
def fetch(config: Config, policy: str, digest: str, out: Path) -> Report:
    """Copy a policy's files to a directory, every hash checked; prints their digest.

    \b
    Example:
      selfemo fetch --policy models:/self-emo@champion --out /model
    """
    from selfemo.policy import names
    from selfemo.serving.command import fetch as copy

    surroundings(config, needs=names.needs(policy))
    copied = copy(config, policy, digest, out)
    return Report({"policy": policy, "digest": copied, "out": out}, copied)
