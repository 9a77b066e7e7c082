"""What was pushed, and which pull requests were opened: the server and the registry say so, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfemo.config.platform import GitopsSettings
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.registry.git import proposed
from selfemo.registry.promotion import promote_version
from selfemo.registry.served import synchronise
from tests.unit import test_gitops
from tests.unit.test_gitops import FILE, git, version, wanted

server, remote, context = test_gitops.server, test_gitops.remote, test_gitops.context


class Remembering:
    """A memory that outlives a call, as a tag of the registry does."""

    def __init__(self) -> None:
        self.commits: list[str] = []

    def opened(self) -> str:
        return self.commits[-1] if self.commits else ""

    def remember(self, commit: str) -> None:
        self.commits.append(commit)


@pytest.mark.parametrize("kind", ["checkout", "address"])
def test_a_push_that_was_refused_is_made_again_until_the_server_has_it(server: Path, tmp_path: Path, kind: str) -> None:
    git(tmp_path, "clone", "--quiet", str(server), "home")
    settings = GitopsSettings(repository=str(tmp_path / "home") if kind == "checkout" else server.as_uri())
    hook = server / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    for _ in range(2):
        with pytest.raises(UserError, match="git push"):
            proposed(settings, wanted(), "why")
    hook.unlink()
    assert proposed(settings, wanted(), "why") == "committed on serve-self-emo-3, pushed"
    assert git(server, "show", f"serve-self-emo-3:{FILE}") == wanted().to_yaml()
    assert proposed(settings, wanted(), "why") == "branch serve-self-emo-3 already holds the change"
    git(server, "branch", "-D", "serve-self-emo-3")  # what the checkout remembers of it does not count
    assert proposed(settings, wanted(), "why") == "committed on serve-self-emo-3, pushed"


@pytest.mark.parametrize("kind", ["checkout", "address"])
def test_a_pull_request_that_was_not_opened_is_opened_later_and_once(server: Path, tmp_path: Path, kind: str) -> None:
    git(tmp_path, "clone", "--quiet", str(server), "home")
    settings = GitopsSettings(repository=str(tmp_path / "home") if kind == "checkout" else server.as_uri())
    memory, asked = Remembering(), tmp_path / "asked"
    with pytest.raises(UserError, match="no program"):
        proposed(settings.model_copy(update={"pull_request": "no-such-program"}), wanted(), "why", memory)
    script = tmp_path / "open"
    script.write_text(f"#!/bin/sh\ngit rev-parse HEAD >> {asked}\n")
    script.chmod(0o755)
    opening = settings.model_copy(update={"pull_request": str(script)})
    assert proposed(opening, wanted(), "why", memory) == "branch serve-self-emo-3 already holds the change, opened"
    assert proposed(opening, wanted(), "why", memory) == "branch serve-self-emo-3 already holds the change"
    assert asked.read_text() == git(server, "rev-parse", "serve-self-emo-3")
    git(server, "branch", "-D", "serve-self-emo-3")  # with it, the forge closes the pull request
    assert proposed(opening, wanted(), "why", memory).endswith("pushed, opened")


def test_a_pull_request_that_somebody_opened_before_is_no_error(server: Path, tmp_path: Path) -> None:
    script = tmp_path / "open"
    script.write_text('#!/bin/sh\necho "a pull request for branch x already exists" >&2\nexit 1\n')
    script.chmod(0o755)
    memory = Remembering()
    settings = GitopsSettings(repository=server.as_uri(), pull_request=str(script))
    assert proposed(settings, wanted(), "why", memory).endswith("opened")
    assert memory.commits == [git(server, "rev-parse", "serve-self-emo-3").strip()]


def test_a_push_that_reached_nothing_is_not_called_one(server: Path) -> None:
    settings = GitopsSettings(repository=server.as_uri(), push="git push --dry-run origin HEAD:refs/heads/{branch}")
    with pytest.raises(UserError, match="has no such branch serve-self-emo-3"):
        proposed(settings, wanted(), "why")


def test_the_registry_remembers_which_pull_requests_were_opened(context: Context, tmp_path: Path) -> None:
    number, opened = version(context, tmp_path, "a", 0.5), tmp_path / "opened"
    script = tmp_path / "open"
    script.write_text(f"#!/bin/sh\necho once >> {opened}\n")
    script.chmod(0o755)
    own = context.config.gitops.model_copy(update={"branch": "serve-{model}-{version}", "pull_request": str(script)})
    config = context.config.model_copy(update={"gitops": own})
    promote_version(Context(config), number)
    assert synchronise(Context(config)).endswith("already holds the change")
    assert opened.read_text() == "once\n"
