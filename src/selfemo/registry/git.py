"""The served model as a file in Git: a cluster follows the file, and a promotion changes it by a commit.

Work is done in a clone or worktree of its own, so that a person's checkout is left as it is.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from selfemo.config.platform import Gitops
from selfemo.errors import UserError
from selfemo.logs import printable
from selfemo.store.lock import who

HEADER = "# Which model is served. Written by `selfemo promote`, `rollback` and `sync-registry`; kustomize reads it.\n"
SECONDS = 300
"""For each command of Git: a server that hangs must not hang a promotion."""


@dataclass(frozen=True)
class Reference:
    """A model version, so exactly that nothing else can be served in its name.

    Attributes:
        model: Name in the registry.
        version: Its number.
        uri: Of the published artifact: immutable.
        digest: Over the artifact's names and contents.
    """

    model: str
    version: str
    uri: str
    digest: str

    def to_yaml(self, replicas: str = "1") -> str:
        """The file's text: a ConfigMap, the same for the same version.

        Args:
            replicas: Pods that serve it, where a Deployment does; ``stop`` is KServe's word for none.
        """
        metadata = {"name": "served-model", "labels": {"app.kubernetes.io/name": "selfemo"}}
        served = {"replicas": replicas, "stop": "true" if replicas == "0" else "false"}
        row = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {**vars(self), **served}}
        return HEADER + yaml.safe_dump(row, sort_keys=False, width=1000)


def replicas_of(text: str | None) -> str:
    """How many pods are to serve a version: as many as the file says, which a person may have set, and one at least.

    A file that has served nothing yet says none.
    """
    try:
        row = yaml.safe_load(text or "")
        given = row["data"]["replicas"]
        return str(int(given)) if int(given) > 0 else "1"
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        return "1"


def proposed(settings: Gitops, wanted: Reference, why: str) -> str:
    """Make Git agree with a reference.

    Args:
        settings: Of the configuration; they name a repository.
        wanted: What is to be served.
        why: For the commit.

    Returns:
        What was done, in words.

    Raises:
        UserError: If the repository cannot be used, or a command fails.
    """
    branch = settings.branch.format(model=_slug(wanted.model), version=wanted.version)
    with _worktree(settings) as (tree, base):
        file = tree / settings.reference
        if not file.resolve().is_relative_to(tree.resolve()):
            raise UserError("lies outside the repository", where=settings.reference, fix="set gitops.reference")
        now = _text(file, settings.reference)
        text = wanted.to_yaml(replicas_of(now))
        if now == text:
            return f"Git already serves version {wanted.version}"
        if branch != settings.base and _pending(tree, branch, base, settings.reference, text):
            return f"branch {branch} already holds the change"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        title = f"Serve version {wanted.version} of {printable(wanted.model)}"
        body = f"{printable(why)}\n\nDigest {wanted.digest}, {wanted.uri}\nBy {printable(who())}"
        _git(tree, "add", "--", settings.reference)
        _git(tree, *_identity(tree), "commit", "--quiet", "-m", title, "-m", body)
        words = {"branch": branch, "title": title, "body": body}
        if branch != settings.base:
            _git(tree, "branch", "--force", branch, "HEAD")
        elif not settings.push:
            raise UserError(
                f"a commit on {branch} has to be pushed",
                where="gitops.push",
                fix="set it, or set gitops.branch to another branch than gitops.base",
            )
        for command in (settings.push, settings.pull_request):
            if command:
                _run(tree, [_filled(part, words) for part in shlex.split(command)])
    done = [f"committed on {branch}"] + ["pushed"] * bool(settings.push) + ["opened"] * bool(settings.pull_request)
    return ", ".join(done)


@contextmanager
def _worktree(settings: Gitops) -> Iterator[tuple[Path, str]]:
    """A working tree at the newest state of the base branch, and the commit it is at."""
    given, base = settings.repository, settings.base
    remote = "://" in given or (":" in given and "@" in given.partition(":")[0])
    with tempfile.TemporaryDirectory(prefix="selfemo-git-") as directory:
        tree = Path(directory) / "tree"
        if remote:
            _git(Path(directory), "clone", "--quiet", "--branch", base, "--", given, str(tree))
            yield tree, _git(tree, "rev-parse", "HEAD")
            return
        home = Path(given).expanduser()
        if not home.is_dir():
            raise UserError("no such checkout", where=given, fix="set gitops.repository")
        start = base
        if "origin" in _git(home, "remote").split():
            _git(home, "fetch", "--quiet", "origin", f"+refs/heads/{base}:refs/remotes/origin/{base}")
            start = f"refs/remotes/origin/{base}"
        _git(home, "worktree", "add", "--quiet", "--detach", str(tree), start)
        try:
            yield tree, _git(tree, "rev-parse", "HEAD")
        finally:
            _git(home, "worktree", "remove", "--force", str(tree))


def _pending(tree: Path, branch: str, base: str, reference: str, text: str) -> bool:
    """Whether the branch holds the change already, and was made after the last change of the file on the base.

    A branch of an earlier promotion of the same version was merged, in whatever way, before that change.
    """
    for ref in (f"refs/remotes/origin/{branch}", f"refs/heads/{branch}"):
        if _try(tree, "show", f"{ref}:{reference}") != text:
            continue
        last = _git(tree, "log", "-1", "--format=%H", base, "--", reference)
        if not last or _try(tree, "merge-base", "--is-ancestor", last, ref) is not None:
            return True
    return False


def _text(file: Path, reference: str) -> str | None:
    """What the file holds now; None if there is none.

    Raises:
        UserError: If something else is there, or no text.
    """
    fix = "set gitops.reference to the file that `selfemo sync-registry` writes"
    if file.is_dir():
        raise UserError("is a directory", where=reference, fix=fix)
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"cannot be read: {error}", where=reference, fix=fix) from None


def _identity(tree: Path) -> list[str]:
    """Who commits, where Git has not been told."""
    if _try(tree, "var", "GIT_COMMITTER_IDENT") is not None:
        return []
    return ["-c", "user.name=selfemo", "-c", "user.email=selfemo@localhost"]


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name).strip("-.") or "model"


def _filled(part: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        part = part.replace(f"{{{name}}}", value)
    return part


def _git(place: Path, *arguments: str) -> str:
    return _run(place, ["git", *arguments]).strip()


def _try(place: Path, *arguments: str) -> str | None:
    """Output of a command of Git, or None if it fails."""
    done = _call(place, ["git", *arguments])
    return str(done.stdout) if done.returncode == 0 else None


def _run(place: Path, command: list[str]) -> str:
    try:
        done = _call(place, command)
    except FileNotFoundError:
        raise UserError(f"no program {command[0]!r}", where="gitops", fix="install it") from None
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{command[0]} did not end in {SECONDS} s", where="gitops", fix="see whether its server answers"
        ) from None
    if done.returncode:
        said = printable(str(done.stderr or done.stdout).strip())[:1000]
        raise UserError(
            f"{shlex.join(command[:3])}... failed: {said}", where="gitops", fix="mend it, then: selfemo sync-registry"
        )
    return str(done.stdout)


def _call(place: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)
