"""``selfemo doctor``: the first look at a machine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from selfemo.cli.base import configured

if TYPE_CHECKING:
    from selfemo.config import Config

MISSING = 3
"""Exit code where something is missing that the configuration needs."""


@click.command()
@configured
@click.option("--json", "as_json", is_flag=True, help="Print it for a program.")
def doctor(config: Config, as_json: bool) -> None:
    """Say what this machine has, what will be chosen on it, and what is missing, with the command that brings it.

    Nothing is started and nothing is written. The exit code is 0 if all that the configuration needs is here, and 3 if
    something is missing.

    \b
    Example:
      selfemo doctor --config configs/demo.yaml
    """
    from selfemo.context import Context
    from selfemo.doctor import examine
    from selfemo.doctor.text import lines

    path = click.get_current_context().params.get("path")
    found = examine(Context(config))
    if as_json:
        click.echo(json.dumps({**asdict(found), "complete": not found.needed}, ensure_ascii=False, indent=2))
    else:
        for line in lines(found, str(path or "the default configuration")):
            click.echo(line)
        if not found.needed:
            command = "submit" if config.cluster.host else "run"
            click.echo(f"all that is needed is here: selfemo {command}{f' --config {path}' if path else ''}")
    sys.exit(MISSING if found.needed else 0)
