"""A block of shell as the simple commands that it holds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

_ENDS = {"&&", "||", "|", ";", ";;", "&", "|&", "(", ")"}
_REDIRECTION = re.compile(r"(\d*|&)(>|>>|<|>&|<<<)")
_SUBSTITUTION = re.compile(r"\$\((.*)\)")
_KEYWORDS = {"do", "done", "then", "fi", "else", "{", "}", "!", "time", "until", "while", "if"}


def simple_commands(text: str) -> Iterator[list[str]]:
    """Words of each command, without what is set for it, where it runs (``.venv/bin/``), and redirections.

    Of ``$(...)`` the command within, too.

    Raises:
        ValueError: If a quote is not closed.
    """
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if word in _ENDS:
                if words := _bare(words):
                    yield words
                    for inner in (match[1] for word in words if (match := _SUBSTITUTION.search(word))):
                        yield from simple_commands(inner)
                words = []
            elif skip:
                skip = False
            elif _REDIRECTION.fullmatch(word):
                skip = True
            else:
                words.append(word)


def _bare(words: list[str]) -> list[str]:
    while words and (re.fullmatch(r"[A-Za-z_]\w*=.*", words[0]) or words[0] in _KEYWORDS):
        words = words[1:]
    return [words[0].removeprefix(".venv/bin/"), *words[1:]] if words else []
