"""What a step's result depends on in the code: a hash over the sources that its own module imports. Defined here.

The imports are read, not run: from the step's module over all modules of this package that it names, in functions too.
Comments, docstrings and blank lines do not count, nor does the place or the Python version, so that a checkout and an
image of the same sources agree. Libraries of others do not count either: `constraints.txt` and the images pin them.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

_ENGINES = (
    "selfemo.config.engines",
    *(
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for file in sorted((PACKAGE / "policy").rglob("*.py"))
        if file.name != "__init__.py"
    ),
)
"""What samples is looked up in a table of names, which no import shows: it counts, and all of policy/."""

_MORE: dict[str, tuple[str, ...]] = {
    "warmup": ("selfemo.policy.packaged", "selfemo.policy.taught"),
    "generate": ("selfemo.policies", *_ENGINES),
    "gather": ("selfemo.policies", *_ENGINES),
    "train": ("selfemo.policies", *_ENGINES),
    "evaluate": ("selfemo.policies", *_ENGINES),
    "score": ("selfemo.policies", *_ENGINES),
    "decide": ("selfemo.registry.rounds",),
}
"""What a step uses by way of its context alone, which no import of its module shows."""


def entries(step: str) -> tuple[str, ...]:
    """Where an artifact's code begins: the module of its step, and what that uses by way of its context alone.

    Args:
        step: Name of the step.
    """
    return (f"selfemo.steps.{step}", *_MORE.get(step, ()))


SURROUNDINGS = (
    "selfemo.addresses",
    "selfemo.cluster",
    "selfemo.config",
    "selfemo.context",
    "selfemo.errors",
    "selfemo.events",
    "selfemo.fingerprint",
    "selfemo.logs",
    "selfemo.places",
    "selfemo.policies",
    "selfemo.processes",
    "selfemo.progress",
    "selfemo.reachable",
    "selfemo.registry",
    "selfemo.report",
    "selfemo.services",
    "selfemo.shown",
    "selfemo.steps.launch",
    "selfemo.store",
    "selfemo.terminal",
    "selfemo.unexpected",
)
"""Where and how a step runs, not what it comes to: no edit here makes a run begin again. (What the configuration says
is part of an address by itself; what is made of it is not, so code that decides a result lies elsewhere.) Whatever is
not named here counts."""


@cache
def of_step(name: str) -> str:
    """Hash of the code behind an artifact.

    Args:
        name: Of its step.
    """
    return of_modules(entries(name))


def of_modules(entries: tuple[str, ...], package: Path = PACKAGE) -> str:
    """Hash of what modules consist of, with all that they import of this package.

    Args:
        entries: Full names.
        package: Directory of the package.
    """
    found = {module: _source_hash(_source(module, package)) for module in modules(entries, package)}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def modules(entries: tuple[str, ...], package: Path = PACKAGE) -> set[str]:
    """Names of the modules that are reached from some by imports; surroundings only where they are named themselves.

    Args:
        entries: Full names.
        package: Directory of the package.
    """
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        waiting += [m for m in _imports(module, package) if m not in found and not _surrounds(m)]
    return found


def _surrounds(module: str) -> bool:
    return any(module == s or module.startswith(f"{s}.") for s in SURROUNDINGS)


def _file(module: str, package: Path) -> Path | None:
    """A module's file; None if the name is none of this package's modules."""
    head, *rest = module.split(".")
    if head != package.name:
        return None
    place = package.joinpath(*rest)
    return next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)


def _source(module: str, package: Path) -> str:
    file = _file(module, package)
    assert file is not None, module  # it was found before, or is one of the entries
    return file.read_text(encoding="utf-8")


def _imports(module: str, package: Path) -> Iterator[str]:
    """Modules of the package that a module names; of a package's names, those that are modules themselves."""
    for source, names in _named(_source(module, package)):
        below = [f"{source}.{name}" if source else name for name in names]
        named = [b if not source or _file(b, package) else source for b in below]
        yield from (name for name in dict.fromkeys(named) if _file(name, package))


@cache
def _named(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Of each import of a source, what stands after ``from``, or nothing, and the names after ``import``."""
    found: list[tuple[str, tuple[str, ...]]] = []
    waiting: list[ast.AST] = [_parsed(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse  # the rest is read by type checkers alone
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found.append(("", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.module, tuple(alias.name for alias in node.names)))
    return tuple(found)


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _source_hash(text: str) -> str:
    """Of a source without comments, docstrings and blank lines; where these are is the same in every Python."""
    lines = io.StringIO(text).readlines()
    inside: set[int] = set()
    """Lines that end within a string: blank ones count there."""
    nodes = list(ast.walk(_parsed(text)))
    for node in nodes:
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and node.end_lineno is not None:
            inside.update(range(node.lineno - 1, node.end_lineno - 1))
    for node in nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
            before = lines[first].encode()[: node.col_offset]
            after = lines[last].encode()[node.end_col_offset :]
            if not before.strip() and not after.strip():
                lines[first : last + 1] = [""] * (last + 1 - first)
                inside -= set(range(first, last))
    if "#" in text:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            number, column = token.start
            if token.type == tokenize.COMMENT:
                lines[number - 1] = lines[number - 1][:column].rstrip()
    kept = (line if number in inside else line.rstrip() for number, line in enumerate(lines))
    return hashlib.sha256("\n".join(line for line in kept if line).encode()).hexdigest()
