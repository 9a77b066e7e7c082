"""The served model in Git: written by commits, never twice, and never over a person's work."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selfemo import config as configuration
from selfemo.config.platform import GitopsSettings
from selfemo.context import Context
from selfemo.data.records import write_records
from selfemo.errors import UserError
from selfemo.registry.git import proposed
from selfemo.registry.promotion import promote_version, roll_back
from selfemo.registry.reference import Reference, replicas_of
from selfemo.registry.served import synchronise
from selfemo.registry.versions import CHAMPION, Versions
from selfemo.store.lock import Busy
from tests.conftest import race, there
from tests.unit.test_evaluation import _pairs, rows

FILE = "manifests/overlays/prod/model.yaml"


def git(place: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run(["git", *who, *arguments], cwd=place, capture_output=True, text=True, check=True).stdout


def wanted(version: str = "3") -> Reference:
    return Reference("self-emo", version, f"s3://b/train-{version}", "d" * 64)


def present(settings: GitopsSettings) -> Reference | None:
    """What the branch that the cluster follows says is served."""
    place = Path(settings.repository.removeprefix("file://"))
    if FILE not in git(place, "ls-tree", "-r", "--name-only", settings.base).split("\n"):
        return None
    return of(git(place, "show", f"{settings.base}:{FILE}"))


def of(text: str) -> Reference:
    """The version that a file names, whatever it says of how many pods serve it."""
    data = yaml.safe_load(text)["data"]
    return Reference(**{name: data[name] for name in ("model", "version", "uri", "digest")})


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "server.git")
    git(tmp_path, "clone", "--quiet", "server.git", "seed")
    seed = tmp_path / "seed"
    git(seed, "checkout", "--quiet", "-B", "main")
    (seed / "README.md").write_text("hello")
    git(seed, "add", ".")
    git(seed, "commit", "--quiet", "-m", "first")
    git(seed, "push", "--quiet", "origin", "main")
    return tmp_path / "server.git"


@pytest.fixture
def remote(server: Path) -> GitopsSettings:
    return GitopsSettings(repository=server.as_uri())


def merge(server: Path, branch: str, tmp_path: Path, *, squash: bool) -> None:
    """What a reviewer does."""
    place = tmp_path / f"review-{branch}-{squash}"
    git(tmp_path, "clone", "--quiet", str(server), str(place))
    if squash:
        git(place, "merge", "--quiet", "--squash", f"origin/{branch}")
        git(place, "commit", "--quiet", "-m", "squashed")
    else:
        git(place, "merge", "--quiet", "--no-ff", "-m", "merged", f"origin/{branch}")
    git(place, "push", "--quiet", "origin", "main")


def test_a_change_is_a_commit_on_a_branch_that_says_what_and_why(server: Path, remote: GitopsSettings) -> None:
    assert present(remote) is None
    assert proposed(remote, wanted(), "gain +0.02") == "committed on serve-self-emo-3, pushed"
    message = git(server, "log", "-1", "--format=%B", "serve-self-emo-3")
    assert message.startswith("Serve version 3 of self-emo\n")
    assert "gain +0.02" in message
    assert "d" * 64 in message
    assert git(server, "show", f"serve-self-emo-3:{FILE}") == wanted().to_yaml()
    assert git(server, "log", "--format=%s", "main").split("\n")[0] == "first"


def test_the_same_change_is_proposed_once(server: Path, remote: GitopsSettings) -> None:
    proposed(remote, wanted(), "why")
    before = git(server, "rev-parse", "serve-self-emo-3")
    assert "already holds the change" in proposed(remote, wanted(), "why")
    assert git(server, "rev-parse", "serve-self-emo-3") == before


@pytest.mark.parametrize("squash", [True, False])
def test_back_and_forth_is_a_new_change_each_time(
    server: Path, remote: GitopsSettings, tmp_path: Path, squash: bool
) -> None:
    for turn, version in enumerate(("3", "4", "3")):
        assert proposed(remote, wanted(version), "why").startswith("committed")
        (tmp_path / str(turn)).mkdir()
        merge(server, f"serve-self-emo-{version}", tmp_path / str(turn), squash=squash)
        assert present(remote) == wanted(version)
        assert "already serves" in proposed(remote, wanted(version), "why")


def test_it_may_be_written_straight_to_the_branch_that_is_followed(server: Path) -> None:
    straight = GitopsSettings(
        repository=server.as_uri(), branch="main", push="git push --quiet origin HEAD:refs/heads/{branch}"
    )
    proposed(straight, wanted(), "why")
    assert present(straight) == wanted()
    with pytest.raises(UserError, match="has to be pushed"):
        proposed(straight.model_copy(update={"push": ""}), wanted("4"), "why")


def test_a_checkout_is_left_as_it_is(server: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    git(tmp_path, "clone", "--quiet", str(server), str(home))
    (home / "README.md").write_text("my unfinished work")
    local = GitopsSettings(repository=str(home))
    proposed(local, wanted(), "why")
    assert (home / "README.md").read_text() == "my unfinished work"
    assert not (home / FILE).exists()
    assert git(home, "branch", "--show-current").strip() == "main"
    assert git(home, "worktree", "list").count("\n") == 1
    assert git(server, "show", f"serve-self-emo-3:{FILE}") == wanted().to_yaml()


def test_a_checkout_without_a_remote_gets_the_branch(server: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    git(tmp_path, "clone", "--quiet", str(server), str(home))
    git(home, "remote", "remove", "origin")
    assert proposed(GitopsSettings(repository=str(home), push=""), wanted(), "why") == "committed on serve-self-emo-3"
    assert git(home, "show", f"serve-self-emo-3:{FILE}") == wanted().to_yaml()


def test_the_pull_request_command_is_run_without_a_shell(server: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = tmp_path / "open"
    script.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {told}\n')
    script.chmod(0o755)
    settings = GitopsSettings(repository=server.as_uri(), pull_request=f"{script} --head {{branch}} --body {{body}}")
    assert proposed(settings, wanted(), "$(touch owned); `id`\x1b[31m").endswith("pushed, opened")
    _, branch, _, body, _ = told.read_text().split("|")
    assert branch == "serve-self-emo-3"
    assert body.startswith("$(touch owned); `id`")
    assert "\x1b" not in body
    assert not Path("owned").exists()


def test_what_cannot_be_done_is_an_error_that_names_the_way_on(server: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sync-registry"):
        proposed(GitopsSettings(repository=server.as_uri(), push="git push nowhere {branch}"), wanted(), "why")
    with pytest.raises(UserError, match="no program"):
        proposed(GitopsSettings(repository=server.as_uri(), pull_request="no-such-program"), wanted("4"), "why")
    with pytest.raises(UserError, match="outside the repository"):
        proposed(GitopsSettings(repository=server.as_uri(), reference="../x"), wanted(), "why")
    with pytest.raises(UserError, match="no such checkout"):
        proposed(GitopsSettings(repository=str(tmp_path / "none")), wanted(), "why")


@given(st.text(), st.text())
def test_references_round_trip_whatever_the_names(model: str, version: str) -> None:
    reference = Reference(model, version, "s3://b/x", "0")
    row = yaml.safe_load(reference.to_yaml())
    assert row["kind"] == "ConfigMap"
    assert of(reference.to_yaml()) == reference


@pytest.mark.parametrize(
    ("there", "then"), [("0", "1"), ("1", "1"), ("3", "3"), ("-1", "1"), ("many", "1"), (None, "1")]
)
def test_a_version_is_served_by_as_many_pods_as_the_file_says_and_one_at_least(
    server: Path, remote: GitopsSettings, tmp_path: Path, there: str | None, then: str
) -> None:
    if there is not None:
        file = tmp_path / "seed" / FILE
        file.parent.mkdir(parents=True)
        file.write_text(wanted("2").to_yaml(there))
        git(tmp_path / "seed", "add", ".")
        git(tmp_path / "seed", "commit", "--quiet", "-m", "scaled by a person")
        git(tmp_path / "seed", "push", "--quiet", "origin", "main")
    proposed(remote, wanted(), "why")
    data = yaml.safe_load(git(server, "show", f"serve-self-emo-3:{FILE}"))["data"]
    assert (data["replicas"], data["stop"]) == (then, "false")
    assert "already holds the change" in proposed(remote, wanted(), "why")


def test_nothing_is_served_at_first() -> None:
    """What an overlay begins with: no pod of a Deployment, and KServe's own word for none."""
    data = yaml.safe_load(wanted("0").to_yaml("0"))["data"]
    assert (data["replicas"], data["stop"]) == ("0", "true")
    assert replicas_of("no: [yaml") == "1"


# With the registry


def version(context: Context, tmp_path: Path, name: str, right: float) -> str:
    """A registered policy that answers so much right."""
    folder = tmp_path / name
    folder.mkdir()
    write_records(folder / "predictions.jsonl.gz", rows(_pairs(right, 240)))
    scores = context.store.uri(name, "scores")
    context.store.publish(folder, scores, step="score")
    (folder / "model.safetensors").write_text(name)
    weights = context.store.uri(name, "weights")
    made = context.store.publish(folder, weights, step="train")
    tags = {"selfemo.scores": scores, "selfemo.digest": made.digest}
    return context.registry.versions.register(weights, context.registry.round(1), tags)


@pytest.fixture
def context(mlflow_file: str, tmp_path: Path, server: Path) -> Context:
    uris = [f"store.root={(tmp_path / 's').as_uri()}", f"mlflow.tracking_uri={mlflow_file}"]
    repository = f"gitops.repository={server.as_uri()}"
    straight = ["gitops.branch=main", "gitops.push=git push --quiet origin HEAD:refs/heads/{branch}"]
    return Context(configuration.load(None, [f"workdir={tmp_path / 'w'}", *uris, repository, *straight]))


def test_promotion_and_rollback_move_registry_and_git_together(context: Context, tmp_path: Path) -> None:
    first, second = version(context, tmp_path, "a", 0.5), version(context, tmp_path, "b", 0.9)
    said = promote_version(Context(context.config), first)
    assert "committed on main, pushed" in said
    assert there(present(context.config.gitops)).version == first
    promote_version(Context(context.config), second)
    tags = context.registry.versions.get(second).tags
    assert tags["selfemo.promoted_by"]
    assert tags["selfemo.previous_champion"] == first
    assert '"gains"' in tags["selfemo.promotion_evidence"]
    assert there(present(context.config.gitops)).version == second
    roll_back(Context(context.config), "it shouts")
    assert str(there(context.registry.versions.alias(CHAMPION)).version) == first
    assert there(present(context.config.gitops)).version == first
    assert "it shouts" in context.registry.versions.get(second).tags["selfemo.rolled_back"]


def test_an_alias_that_was_moved_by_hand_is_drift_that_the_reconciler_repairs(
    context: Context, tmp_path: Path, server: Path
) -> None:
    assert "no champion" in synchronise(context)
    first, second = version(context, tmp_path, "a", 0.5), version(context, tmp_path, "b", 0.4)
    promote_version(Context(context.config), first)
    assert "already serves" in synchronise(context)
    context.registry.versions.set_alias(CHAMPION, second)
    assert "committed" in synchronise(context)
    assert there(present(context.config.gitops)).version == second
    assert "without the gate" in git(server, "log", "-1", "--format=%B", "main")


def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [version(context, tmp_path, name, 0.9) for name in ("a", "b")]
    outcomes: dict[str, str] = {}
    refused = threading.Event()

    def work(i: int) -> None:
        try:
            outcomes[versions[i]] = promote_version(
                Context(context.config), versions[i], force=True, reason=f"I am {i}"
            )
        except UserError as error:
            outcomes[versions[i]] = f"{type(error).__name__}: {error.message}"
        finally:
            refused.set()

    move = Versions.set_alias

    def slowly(self: Versions, *arguments: Any) -> None:
        refused.wait()  # whoever holds the lock holds it until the other has come and gone
        move(self, *arguments)

    monkeypatch.setattr("selfemo.registry.versions.Versions.set_alias", slowly)
    race(2, work)
    winner = str(there(context.registry.versions.alias(CHAMPION)).version)
    (loser,) = set(versions) - {winner}
    assert outcomes[winner].startswith(f"champion of self-emo: version {winner}")
    assert outcomes[loser].startswith(f"{Busy.__name__}: held by ")
    assert "selfemo.promoted_at" not in context.registry.versions.get(loser).tags
    assert there(present(context.config.gitops)).version == winner


def test_weights_that_are_not_those_that_were_registered_are_not_served(context: Context, tmp_path: Path) -> None:
    first = version(context, tmp_path, "a", 0.5)
    context.registry.client.set_model_version_tag("self-emo", first, "selfemo.digest", "0" * 64)
    with pytest.raises(UserError, match="not those that were registered"):
        promote_version(Context(context.config), first)
    assert context.registry.versions.alias(CHAMPION) is None
