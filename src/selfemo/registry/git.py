"""The served model as a file in Git: a cluster follows the file, and a promotion changes it by a commit.

Work is done in a clone or worktree of its own, so that a person's checkout is left as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from selfemo.config.platform import GitopsSettings
from selfemo.errors import UserError
from selfemo.logs import printable
from selfemo.places import temporary
from selfemo.registry.git_commands import attempt, call, failed, git, run
from selfemo.registry.reference import CanaryReference, Reference, knows_canaries, replicas_of
from selfemo.store.lock import who

_THERE = re.compile(r"already (exists|open)|another open merge request", re.IGNORECASE)
"""How programs say that a pull request was opened before: gh, glab, tea."""


class Memory(Protocol):
    """What was asked of others, and nobody but we can tell whether it was: kept where it outlives this process."""

    def opened(self) -> str:
        """The commit for which a pull request was opened last; empty if none was."""
        ...

    def remember(self, commit: str) -> None:
        """Keep that one was opened for a commit."""
        ...


class Nothing:
    """The memory of who forgets."""

    def opened(self) -> str:
        """Nothing."""
        return ""

    def remember(self, commit: str) -> None:
        """Nothing."""


def proposed(settings: GitopsSettings, wanted: Reference, why: str, memory: Memory | None = None) -> str:
    """Make Git agree with a reference.

    What counts is the server: a branch that was committed and not pushed is made and pushed anew, and a pull request
    that was not opened for what the server's branch holds is opened.

    Args:
        settings: Of the configuration; they name a repository.
        wanted: What is to be served.
        why: For the commit.
        memory: Of pull requests.

    Returns:
        What was done, in words.

    Raises:
        UserError: If the repository cannot be used, or a command fails; the same again tries again.
    """
    branch = settings.branch.format(model=_slug(wanted.model), version=wanted.named)
    memory = memory or Nothing()
    with _worktree(settings) as (tree, base):
        file = tree / settings.reference
        if not file.resolve().is_relative_to(tree.resolve()):
            raise UserError("lies outside the repository", where=settings.reference, fix="set gitops.reference")
        now = _text(file, settings.reference)
        if wanted.canary is None and knows_canaries(now):
            wanted = wanted.with_canary(CanaryReference.nobody())
        text = wanted.to_yaml(replicas_of(now))
        if now == text:
            return f"Git already serves version {wanted.named}"
        title = printable(wanted.title)
        body = f"{printable(why)}\n\n{_exactly(wanted)}\nBy {printable(who())}"
        words = {"branch": branch, "title": title, "body": body}
        there = None if branch == settings.base else _there(tree, settings, branch)
        pending = there is not None and _holds(tree, there, base, settings.reference, text)
        if there is not None and pending:
            git(tree, "checkout", "--quiet", "--detach", there)
            done = [f"branch {branch} already holds the change"]
        else:
            _commit(tree, settings, branch, text, title, body)
            done = [f"committed on {branch}"]
            if settings.push:
                _push(tree, settings, branch, words)
                done.append("pushed")
        commit = git(tree, "rev-parse", "HEAD")
        if settings.pull_request and (not pending or memory.opened() != commit):
            _open(tree, settings, words)
            memory.remember(commit)
            done.append("opened")
    return ", ".join(done)


def _exactly(wanted: Reference) -> str:
    """Digest and address of what is to be served."""
    there = wanted.canary is not None and wanted.canary.version and wanted.canary
    canary = f"\nCanary: digest {there.digest}, {there.uri}" if there else ""
    return f"Digest {wanted.digest}, {wanted.uri}{canary}"


def _commit(tree: Path, settings: GitopsSettings, branch: str, text: str, title: str, body: str) -> None:
    file = tree / settings.reference
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    git(tree, "add", "--", settings.reference)
    git(tree, *_identity(tree), "commit", "--quiet", "-m", title, "-m", body)
    if branch != settings.base:
        git(tree, "branch", "--force", branch, "HEAD")
    elif not settings.push:
        raise UserError(
            f"a commit on {branch} has to be pushed",
            where="gitops.push",
            fix="set it, or set gitops.branch to another branch than gitops.base",
        )


def _push(tree: Path, settings: GitopsSettings, branch: str, words: dict[str, str]) -> None:
    run(tree, [_filled(part, words) for part in shlex.split(settings.push)])
    remote = _remote(tree, settings.push)
    if "{branch}" not in settings.push or not settings.push.startswith("git push") or remote is None:
        return  # somebody else's program knows where it went
    if _on_server(tree, remote, branch) != git(tree, "rev-parse", "HEAD"):
        fix = "mend gitops.push, or see what the server does with pushes; then: selfemo sync-registry"
        raise UserError(f"the push ended well, and {remote} has no such branch {branch}", where="gitops.push", fix=fix)


def _open(tree: Path, settings: GitopsSettings, words: dict[str, str]) -> None:
    command = [_filled(part, words) for part in shlex.split(settings.pull_request)]
    done = call(tree, command)
    if done.returncode and not _THERE.search(f"{done.stdout}\n{done.stderr}"):
        raise failed(command, done)


def _remote(tree: Path, push: str) -> str | None:
    """Where a push goes; None if there is no such remote, as of a checkout that stays on its machine."""
    remote, words = "origin", shlex.split(push)
    if words[:2] == ["git", "push"]:
        values = iter(words[2:])
        for word in values:
            if word in ("-o", "--push-option", "--receive-pack", "--exec"):
                next(values, None)
            elif not word.startswith("-"):
                remote = word
                break
    known = git(tree, "remote").split()
    return remote if remote in known or "://" in remote or "/" in remote else None


def _on_server(tree: Path, remote: str, branch: str) -> str:
    """The commit of a branch on the server; empty if it has none."""
    return git(tree, "ls-remote", "--", remote, f"refs/heads/{branch}").partition("\t")[0]


def _there(tree: Path, settings: GitopsSettings, branch: str) -> str | None:
    """The commit of the branch where it is to be: on the server, or here where nothing is pushed; None if it is not."""
    remote = _remote(tree, settings.push) if settings.push else None
    if remote is None:
        return (attempt(tree, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}") or "").strip() or None
    commit = _on_server(tree, remote, branch)
    if commit:
        git(tree, "fetch", "--quiet", "--no-write-fetch-head", "--", remote, f"refs/heads/{branch}")
    return commit or None


@contextmanager
def _worktree(settings: GitopsSettings) -> Iterator[tuple[Path, str]]:
    """A working tree at the newest state of the base branch, and the commit it is at."""
    given, base = settings.repository, settings.base
    remote = "://" in given or (":" in given and "@" in given.partition(":")[0])
    with temporary("git") as directory:
        tree = directory / "tree"
        if remote:
            git(directory, "clone", "--quiet", "--branch", base, "--", given, str(tree))
            yield tree, git(tree, "rev-parse", "HEAD")
            return
        home = Path(given).expanduser()
        if not home.is_dir():
            raise UserError("no such checkout", where=given, fix="set gitops.repository")
        start = base
        if "origin" in git(home, "remote").split():
            git(home, "fetch", "--quiet", "origin", f"+refs/heads/{base}:refs/remotes/origin/{base}")
            start = f"refs/remotes/origin/{base}"
        git(home, "worktree", "add", "--quiet", "--detach", str(tree), start)
        try:
            yield tree, git(tree, "rev-parse", "HEAD")
        finally:
            git(home, "worktree", "remove", "--force", str(tree))


def _holds(tree: Path, commit: str, base: str, reference: str, text: str) -> bool:
    """Whether a branch's commit holds the change, and was made after the last change of the file on the base.

    A branch of an earlier promotion of the same version was merged, in whatever way, before that change.
    """
    if attempt(tree, "show", f"{commit}:{reference}") != text:
        return False
    last = git(tree, "log", "-1", "--format=%H", base, "--", reference)
    return not last or attempt(tree, "merge-base", "--is-ancestor", last, commit) is not None


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
    if attempt(tree, "var", "GIT_COMMITTER_IDENT") is not None:
        return []
    return ["-c", "user.name=selfemo", "-c", "user.email=selfemo@localhost"]


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name).strip("-.") or "model"


def _filled(part: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        part = part.replace(f"{{{name}}}", value)
    return part
