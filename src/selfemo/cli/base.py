"""What every command shares: errors that are the user's become one message, and the configuration."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from selfemo.errors import UserError
from selfemo.logs import shown

_ON_DISK = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR}
"""A file that may not be read, a place that cannot be written: the machine's, so its user's to mend."""

F = TypeVar("F", bound=Callable[..., Any])


class Cli(click.Group):
    """Turns errors that are the user's to mend into one message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            _say(error)
            sys.exit(2)
        except Exception as error:
            # A server or a disk of the user's own that cannot be used is theirs to mend; the rest is a defect of ours.
            if type(error).__module__.split(".")[0] in ("botocore", "boto3", "mlflow", "requests", "urllib3"):
                _say(UserError(str(error), where="S3 or MLflow", fix="check store, mlflow and credentials"))
            elif isinstance(error, OSError) and error.filename and error.errno in _ON_DISK:
                fix = "check who may read and write there, and that the disk has room"
                _say(UserError(str(error.strerror), where=str(error.filename), fix=fix))
            else:
                raise
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("selfemo: interrupted; the same command goes on from here", err=True)
            sys.exit(130)


def _say(error: UserError) -> None:
    click.echo(f"selfemo: {shown(error)}", err=True)


def known(corpus: str, path: str | None) -> str:
    """A corpus's name, as ``--corpus`` takes it: any, where ``--path`` names the directory of one's own.

    Raises:
        UserError: If there is no such corpus; names those there are.
    """
    from selfemo.data.corpora.own import NAME, TAKEN
    from selfemo.data.corpora.table import CORPORA

    if corpus in CORPORA:
        return corpus
    if path is None:
        fix = f"use one of {', '.join(CORPORA)}, or give the directory of your own with --path"
        raise UserError(f"no corpus {corpus!r}", where="--corpus", fix=fix)
    if not NAME.fullmatch(corpus) or corpus in TAKEN:
        raise UserError(f"{corpus!r} is no name for a corpus", where="--corpus", fix="use letters, digits and dashes")
    return corpus


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

    return wrapped  # type: ignore[return-value]  # functools.wraps keeps the signature
