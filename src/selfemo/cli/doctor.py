"""``selfemo doctor``: the first look at a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from selfemo.cli.base import configured
from selfemo.cli.output import Report, reports
from selfemo.errors import Exit

if TYPE_CHECKING:
    from selfemo.config import Config


@click.command()
@configured
@reports("complete", "machine", "versions", "extras", "services", "chosen", "missing")
def doctor(config: Config) -> Report:
    """Say what this machine has, what will be chosen on it, and what is missing, with the command that brings it.

    Nothing is started and nothing is written. The exit code is 0 if all that the configuration needs is here, and 1 if
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
    said = list(lines(found, str(path or "the default configuration")))
    if not found.needed:
        command = "submit" if config.cluster.host else "run"
        said.append(f"all that is needed is here: selfemo {command}{f' --config {path}' if path else ''}")
    values = {name: getattr(found, name) for name in ("machine", "versions", "extras", "services", "chosen", "missing")}
    code = Exit.NO if found.needed else Exit.DONE
    return Report(values | {"complete": not found.needed}, "\n".join(said), code)
