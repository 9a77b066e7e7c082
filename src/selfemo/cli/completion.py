"""``selfemo completion``: the script that teaches a shell to complete commands, options and values (click's own)."""

from __future__ import annotations

import os
import re
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

VARIABLE = "_SELFEMO_COMPLETE"
"""Variable by which the script asks; click derives it from the program's name."""
_BREAKS = "=:@"
"""Characters at which bash ends a word; names of settings and of policies have them inside."""


class Bash(BashComplete):
    """Click's, for words with ``=``, ``:`` and ``@`` in them, and with no space after ``KEY=``."""

    _begun = ""
    """What of the incomplete word bash takes for words of their own."""

    def source(self) -> str:
        """The script."""
        kept = f"{self.func_name}_kept"
        return super().source() + (
            f"{kept}() {{\n"
            f'    {self.func_name} "$@"\n'
            "    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi\n"
            f"    return 0\n}}\ncomplete -o nosort -F {kept} {self.prog_name}\n"
        )

    def get_completion_args(self) -> tuple[list[str], str]:
        """Arguments before the incomplete one, and that, as they were typed."""
        words = split_arg_string(os.environ["COMP_WORDS"])
        cword = int(os.environ["COMP_CWORD"])
        before: list[str] = []
        glued = False
        for word in words[1 : cword + 1]:
            breaks = not word.strip(_BREAKS)
            if before and (breaks or glued):
                before[-1] += word
            else:
                before.append(word)
            glued = breaks
        incomplete = before.pop() if before and cword < len(words) else ""
        # Readline takes the word on from after = and :, and from @ itself.
        self._begun = incomplete[: max(incomplete.rfind("=") + 1, incomplete.rfind(":") + 1, incomplete.rfind("@"))]
        return before, incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        """The rest of a value after what bash has for words of their own."""
        value = str(item.value)
        there = next((n for n in range(len(self._begun), 0, -1) if value.startswith(self._begun[-n:])), 0)
        return super().format_completion(CompletionItem(value[there:], item.type, item.help))


class Zsh(ZshComplete):
    """Click's, with no space after ``KEY=``."""

    source_template = re.sub(
        r"^( *)(compadd )(-U .*) -a completions$",
        r"\1\2-S '' \3 - ${(M)completions:#*=}" "\n" r"\1\2\3 - ${completions:#*=}",
        ZshComplete.source_template,
        flags=re.MULTILINE,
    )


add_completion_class(Bash)
add_completion_class(Zsh)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes a shell complete commands, options, files, settings, runs and corpora.

    \b
    Examples:
      eval "$(selfemo completion bash)"                # in ~/.bashrc
      eval "$(selfemo completion zsh)"                 # in ~/.zshrc, after compinit
      selfemo completion fish > ~/.config/fish/completions/selfemo.fish
    """
    made: Any = get_completion_class(shell)
    click.echo(made(context.find_root().command, {}, "selfemo", VARIABLE).source(), nl=False)
