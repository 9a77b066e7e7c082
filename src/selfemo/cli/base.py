"""What every command shares: errors that are the user's become one message, and the configuration."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from selfemo.errors import UserError

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
