"""What the shell offers for a value; nothing heavy is imported, no server asked: a person waits for each answer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

_PACKAGE = Path(__file__).resolve().parents[1]
_POLICIES = ("models:/self-emo@champion", "models:/self-emo@challenger", "models:/self-emo@canary")


def settings(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """``KEY=`` of ``--set``, and after it the values of a setting that has few, or the names of runs."""
    key, given, _ = incomplete.partition("=")
    lines = (_PACKAGE / "config" / "names.txt").read_text(encoding="utf-8").splitlines()
    values = {name: rest for name, *rest in map(str.split, lines)}
    if not given:
        return _those(incomplete, [f"{name}=" for name in values])
    known = _runs(context) if key == "run" else values.get(key, [])
    return _those(incomplete, [f"{key}={value}" for value in known])


def runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs that this directory has seen."""
    return _those(incomplete, _runs(context))


def corpora(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The corpora that are known by name."""
    return _those(incomplete, _corpora())


def imports(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Directories, and the corpora that are known by name."""
    return [*directories(context, parameter, incomplete), *_those(incomplete, _corpora())]


def policies(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The registry's versions by alias, and directories."""
    return [*directories(context, parameter, incomplete), *_those(incomplete, _POLICIES)]


def splits(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The splits of a corpus."""
    return _those(incomplete, ("train", "dev", "test"))


def directories(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Directories, which the shell finds itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def _those(incomplete: str, values: Iterable[str]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


def _corpora() -> list[str]:
    return sorted(file.stem for file in (_PACKAGE / "data" / "spaces").glob("*.yaml"))


def _runs(context: click.Context) -> list[str]:
    """Names of the runs in the working directory, which ``--set workdir=`` may name."""
    overrides = context.params.get("overrides") or ()
    workdir = next((o.partition("=")[2] for o in reversed(overrides) if o.startswith("workdir=")), ".selfemo")
    found = Path(workdir).expanduser() / "runs"
    return sorted(place.name for place in found.iterdir() if place.is_dir()) if found.is_dir() else []
