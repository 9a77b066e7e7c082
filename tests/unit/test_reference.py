"""The reference in Git: the champion, and a canary with its share while there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selfemo.config.platform import GitopsSettings
from selfemo.registry.git import proposed
from selfemo.registry.reference import HEADER, CanaryReference, Reference, knows_canaries, replicas_of
from tests.unit.test_gitops import FILE, git, merge, remote, server, wanted

__all__ = ["remote", "server"]

CANARY = CanaryReference("4", "s3://b/train-4", "e" * 64, 10)


def data(text: str) -> dict[str, str]:
    return dict(yaml.safe_load(text)["data"])


def test_where_there_are_no_canaries_it_is_the_file_that_it_always_was() -> None:
    assert wanted().to_yaml() == (
        f"{HEADER}apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: served-model\n  labels:\n"
        "    app.kubernetes.io/name: selfemo\ndata:\n  model: self-emo\n  version: '3'\n  uri: s3://b/train-3\n"
        f"  digest: {'d' * 64}\n  replicas: '1'\n  stop: 'false'\n"
    )


def test_it_names_both_and_the_shares_are_all_of_the_traffic() -> None:
    row = data(wanted().with_canary(CANARY).to_yaml())
    assert (row["version"], row["uri"], row["digest"]) == ("3", "s3://b/train-3", "d" * 64)
    assert (row["canary-version"], row["canary-uri"], row["canary-digest"]) == ("4", "s3://b/train-4", "e" * 64)
    assert (row["canary"], row["canary-share"], row["champion-share"]) == ("present", "10", "90")


def test_of_no_canary_it_says_so_in_the_same_words() -> None:
    one, none = (data(wanted().with_canary(canary).to_yaml()) for canary in (CANARY, CanaryReference.nobody()))
    assert one.keys() == none.keys()  # kustomize copies them, and refuses what is not there
    assert (none["canary"], none["canary-share"], none["champion-share"]) == ("absent", "0", "100")


@given(st.integers(0, 50))
def test_whatever_share_it_is_a_configmap_of_texts(share: int) -> None:
    row = data(wanted().with_canary(CanaryReference("4", "u", "d", share)).to_yaml())
    assert all(isinstance(value, str) for value in row.values())
    assert int(row["canary-share"]) + int(row["champion-share"]) == 100


@pytest.mark.parametrize("text", [None, "", "a: [", "data: 3", "data: {version: '1'}", "data: canary", "[" * 5000])
def test_a_file_that_says_nothing_of_canaries_is_known_as_such(text: str | None) -> None:
    assert not knows_canaries(text)
    assert knows_canaries(wanted().with_canary(CanaryReference.nobody()).to_yaml())


BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)), ""])
"""A few lines that say a thousand million things."""


@pytest.mark.parametrize("more", ["data: {replicas: '2', canary: x}\n", BOMB], ids=len)
def test_a_file_with_what_no_file_of_ours_may_have_says_nothing(more: str) -> None:
    good = "data: {canary: present, replicas: '3'}\n"
    assert (knows_canaries(good), replicas_of(good)) == (True, "3")
    assert (knows_canaries(good + more), replicas_of(good + more)) == (False, "1")


def test_a_canary_begins_gets_its_share_and_ends_each_by_a_change_of_its_own(
    server: Path, remote: GitopsSettings, tmp_path: Path
) -> None:
    beside = (None, CanaryReference("4", "s3://b/train-4", "e" * 64, 0), CANARY, CanaryReference.nobody())
    titles = []
    for turn, canary in enumerate(beside):
        reference = wanted() if canary is None else wanted().with_canary(canary)
        branch = f"serve-self-emo-{reference.named}"
        assert proposed(remote, reference, "why") == f"committed on {branch}, pushed"
        assert "already holds" in proposed(remote, reference, "why")
        titles.append(git(server, "log", "-1", "--format=%s", branch).strip())
        (tmp_path / str(turn)).mkdir()
        merge(server, branch, tmp_path / str(turn), squash=True)
        assert "already serves" in proposed(remote, reference, "why")
    assert titles == [
        "Serve version 3 of self-emo",
        "Serve version 3 of self-emo, and 4 as canary with no traffic yet",
        "Serve version 3 of self-emo, and 4 as canary with 10 % of the traffic",
        "Serve version 3 of self-emo",
    ]
    assert "Canary: digest " + "e" * 64 in git(server, "log", "-1", "--format=%B", "serve-self-emo-3-canary-4")


def test_a_file_that_manifests_read_for_canaries_goes_on_saying_that_there_is_none(
    server: Path, remote: GitopsSettings, tmp_path: Path
) -> None:
    proposed(remote, wanted().with_canary(CanaryReference.nobody()), "why")
    merge(server, "serve-self-emo-3", tmp_path, squash=False)
    assert "already serves" in proposed(remote, wanted(), "the section canary was taken out")
    proposed(remote, wanted("5"), "why")
    assert data(git(server, "show", f"serve-self-emo-5:{FILE}"))["canary"] == "absent"


def test_the_references_that_are_shipped_are_of_this_form() -> None:
    for overlay in ("dev", "staging", "prod"):
        text = (Path(__file__).parents[2] / "manifests/overlays" / overlay / "model.yaml").read_text()
        row = data(text)
        shipped = Reference(row["model"], row["version"], row["uri"], row["digest"]).with_canary(
            CanaryReference.nobody()
        )
        assert yaml.safe_load(shipped.to_yaml(row["replicas"])) == yaml.safe_load(text)
