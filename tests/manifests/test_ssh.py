"""Git by ssh: who pushes holds a key, knows the server by its own, may reach it, and has a client that runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from manifests import check
from manifests.objects import Json, build, unresolved
from manifests.schemas import against_schemas
from tests.conftest import ROOT, there
from tests.manifests.test_values import TAKEN, change, one, place, take

__all__ = ["place"]

JOBS = ["sync-registry", "canary-check"]


@pytest.fixture
def objects(place: Path) -> list[Json]:
    change(place, "staging", **TAKEN["canary-deployment"])
    return take(place, "staging", "canary-deployment", "egress-ssh")


def pod(objects: list[Json], job: str) -> Json:
    found: Json = one(objects, "CronJob", job)["spec"]["jobTemplate"]["spec"]["template"]
    return found


@pytest.mark.parametrize("job", JOBS)
def test_who_pushes_has_the_key_and_the_servers_and_takes_no_other_server(objects: list[Json], job: str) -> None:
    spec = pod(objects, job)["spec"]
    (container,) = spec["containers"]
    command = next(e["value"] for e in container["env"] if e["name"] == "GIT_SSH_COMMAND")
    options = dict(word.split("=", 1) for word in shlex.split(command) if "=" in word)
    assert options["StrictHostKeyChecking"] == options["BatchMode"] == "yes"
    named = {there(re.search(r"-i (\S+)", command)).group(1), options["UserKnownHostsFile"]}
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == "git")
    (volume,) = (v["secret"] for v in spec["volumes"] if v["name"] == "git")
    assert mount["readOnly"] is True
    assert named == {f"{mount['mountPath']}/{item['path']}" for item in volume["items"]}
    assert volume["secretName"] == "git-credentials" and volume["defaultMode"] == 0o440


def test_the_secret_has_both_and_from_the_store_that_the_values_name(objects: list[Json], place: Path) -> None:
    assert list(unresolved(objects, build(place / "cluster"))) == []
    data = one(objects, "ExternalSecret", "git-credentials")["spec"]["data"]
    assert [(d["secretKey"], d["remoteRef"]["key"], d["remoteRef"]["property"]) for d in data] == [
        ("key", "self-emo/git", "ssh_key"),
        ("known_hosts", "self-emo/git", "known_hosts"),
    ]
    if check.SCHEMAS.is_dir():
        named = [("ExternalSecret", "git-credentials"), *(("CronJob", job) for job in JOBS)]
        assert list(against_schemas([one(objects, *each) for each in named], check.SCHEMAS)) == []


def test_a_secret_without_a_key_is_seen(place: Path) -> None:
    found = list(unresolved(take(place, "dev", "egress-ssh"), build(place / "cluster")))
    assert any("CronJob/sync-registry: wants key of Secret git-credentials" in line for line in found)


def test_before_the_component_that_makes_the_secret_it_is_refused(place: Path) -> None:
    """The ExternalSecret, which is not there yet, keeps the one for https."""
    objects = take(place, "staging", "egress-ssh", "external-secrets", instead_of="external-secrets")
    found = list(unresolved(objects, build(place / "cluster")))
    said = "CronJob/sync-registry: wants {} of Secret git-credentials, which has credentials"
    assert found == [said.format(key) for key in ("key", "known_hosts")]


def test_those_pods_and_no_others_are_let_out_to_port_22(objects: list[Json]) -> None:
    policy = one(objects, "NetworkPolicy", "ssh-out")["spec"]
    (expression,) = policy["podSelector"]["matchExpressions"]
    label = "app.kubernetes.io/component"
    assert expression["key"] == label and expression["operator"] == "In"
    assert set(expression["values"]) == {pod(objects, job)["metadata"]["labels"][label] for job in JOBS}
    assert policy["egress"] == [{"ports": [{"protocol": "TCP", "port": 22}]}]


def test_the_image_of_those_pods_has_a_client_and_a_name_for_its_user(objects: list[Json]) -> None:
    """Without a name in /etc/passwd: `No user exists for uid 65532`, whatever key there is."""
    packages = there(re.search(r"lock=requirements.txt packages=\"([^\"]+)\"", (ROOT / "images/build.sh").read_text()))
    assert {"git", "openssh-client"} <= set(packages.group(1).split())
    dockerfile = (ROOT / "images/Dockerfile").read_text()
    uid = there(re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE))
    assert f"useradd --no-log-init --uid {uid.group(1)} --gid {uid.group(2)} " in dockerfile
    for job in JOBS:
        spec = pod(objects, job)["spec"]
        assert spec["securityContext"]["runAsUser"] == int(uid.group(1))
        assert all("/pipeline-python" in c["image"] for c in spec["containers"])
