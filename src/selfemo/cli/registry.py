"""The life of a model version: promotion and its reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from selfemo.cli.base import configured
from selfemo.errors import UserError

if TYPE_CHECKING:
    from selfemo.config import Config


@click.command()
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


@click.command()
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
