"""What every command shares: errors that are the user's become one message, and the configuration."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from selfemo.cli import complete
from selfemo.errors import Exit, UserError
from selfemo.reachable import spare_loopback
from selfemo.terminal import colours
from selfemo.unexpected import told

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.context import Context

F = TypeVar("F", bound=Callable[..., Any])


class Cli(click.Group):
    """Ends every command with a code of :class:`selfemo.errors.Exit`, and with one message if it failed."""

    def invoke(self, ctx: click.Context) -> Any:
        spare_loopback()
        ctx.color = colours(sys.stdout)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except BrokenPipeError:  # whoever read our output has gone
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - Python flushes it at the end
            sys.exit(Exit.NO_READER)
        except (KeyboardInterrupt, click.Abort):  # Ctrl-C, also at a question, or no in answer to it
            click.echo("selfemo: interrupted; the same command goes on from here", err=True)
            sys.exit(Exit.INTERRUPTED)
        except Exception as error:
            words, code = told(error)
            click.echo(words, err=True)
            sys.exit(code)


def surroundings(config: Config, *, start: bool = False, needs: tuple[str, ...] = ("s3", "mlflow")) -> Context:
    """What a command works with, once its servers answer.

    Args:
        config: Of the command.
        start: Whether it may start embedded servers that do not run; one that only asks or tells may not.
        needs: Of ``s3`` and ``mlflow``, what it will use.

    Raises:
        UserError: If a server does not answer within half a minute, or would have to be started.
    """
    from selfemo import reachable, services
    from selfemo.context import Context

    context = Context(config)
    if "KUBERNETES_SERVICE_HOST" not in os.environ:  # nobody waits there; a server may be on its way to another node
        for url, where in context.servers(needs):
            reachable.answers(url, where, fix="see whether it runs, and whether the address is right")
        if "mlflow" in needs and "mlflow" not in context.embedded:
            context.registry.allows()
    running = services.status(context.workdir).processes if context.embedded else {}
    missing = [name for name in context.embedded if name in needs and name not in running]
    if missing and not start:
        there = (context.workdir / "services").is_dir()
        raise UserError(
            f"the embedded servers do not run: {', '.join(missing)}" if there else "nothing was run here",
            where=str(context.workdir),
            fix="start them: selfemo services start"
            if there
            else "go to where it was run, or set workdir, or store.root and mlflow.tracking_uri",
        )
    return context


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
    """Give a command ``--config`` and ``--set``, and hand it the configuration.

    What ``--policy`` was given is looked at first, where a command has it: no server is asked in vain.
    """

    @click.option("--config", "path", type=click.Path(path_type=Path), help="YAML file; default: all defaults.")
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override, e.g. loop.rounds=3.",
        shell_complete=complete.settings,
    )
    @functools.wraps(command)
    def wrapped(path: Path | None, overrides: tuple[str, ...], **rest: Any) -> Any:
        from selfemo import config, logs
        from selfemo.cluster.trainjob import CONFIG

        logs.configure()
        if policy := rest.get("policy"):
            from selfemo.policy import names

            names.check(policy, "--policy")
        given = os.environ.get(CONFIG)  # how a TrainJob's pods are told theirs
        if given and path is None and not overrides:
            return command(config.Config.from_json(given), **rest)
        return command(config.load(path, overrides), **rest)

    return wrapped  # type: ignore[return-value]  # functools.wraps keeps the signature
