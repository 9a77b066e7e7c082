"""``selfemo collect``: what stands before a server that is not ours, and keeps what clients agree to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from selfemo.cli import complete
from selfemo.cli.base import configured, surroundings
from selfemo.cli.feedback import PLACE, place_of

if TYPE_CHECKING:
    from selfemo.config import Config


@click.command()
@configured
@click.option("--upstream", required=True, metavar="URL", help="The server behind, as http://127.0.0.1:8000.")
@PLACE
@click.option(
    "--policy",
    default="",
    help="What is served: its label spaces count; default: the configuration's.",
    shell_complete=complete.policies,
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; elsewhere, a key is needed.")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Of the conversations whose clients agree, how many.",
)
@click.option("--days", type=click.IntRange(min=1), help="Remove what is older; default: it stays.")
@click.option(
    "--redact-region", "regions", multiple=True, metavar="XX", help="Country whose telephone numbers are masked."
)
@click.option("--redact-command", default="", metavar="COMMAND", help="Mask with a command: a JSON string a line.")
def collect(
    config: Config,
    upstream: str,
    place: str | None,
    policy: str,
    host: str,
    port: int,
    share: float,
    days: int | None,
    regions: tuple[str, ...],
    redact_command: str,
) -> None:
    """Stand before a server with OpenAI's routes, such as vLLM's, and keep what clients agree to.

    All requests go on as they come, and answers back. Chats are kept whose requests say `x-selfemo-collect: yes`, and
    /v1/feedback takes corrections, for the key in SELFEMO_SERVE_KEY where it is set (docs/feedback.md).

    \b
    Example:
      vllm serve Qwen/Qwen3-8B
      selfemo collect --upstream http://127.0.0.1:8000 --place s3://served/feedback --days 30
    """
    from selfemo.policy import names
    from selfemo.serving.command import Collect
    from selfemo.serving.sidecar.command import collect as run

    if needs := names.needs(policy):
        surroundings(config, needs=needs)
    kept = Collect(share, days, tuple(map(str.upper, regions)), redact_command)
    run(config, upstream, place_of(config, place), policy, host, port, kept)
