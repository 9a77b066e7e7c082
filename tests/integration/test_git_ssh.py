"""Git over ssh, against a real server: what pods are told pushes to the server that is known, and to no other."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from selfemo.config.platform import GitopsSettings
from selfemo.errors import UserError
from selfemo.registry.git import proposed
from tests.manifests.test_values import one, place, take
from tests.unit.test_gitops import FILE, git, wanted

__all__ = ["place"]

SSHD = os.environ.get("SELFEMO_SSHD") or shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
ME = pwd.getpwuid(os.geteuid()) if os.geteuid() in {p.pw_uid for p in pwd.getpwall()} else None

pytestmark = [
    pytest.mark.skipif(not SSHD, reason="no sshd: install openssh-server, or set SELFEMO_SSHD"),
    pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh client: install openssh-client"),
    pytest.mark.skipif(os.geteuid() == 0, reason="sshd of root wants a user and a directory of its own"),
    pytest.mark.skipif(
        ME is None or ME.pw_shell.endswith(("nologin", "false")), reason="sshd logs in users with a shell alone"
    ),
]


@dataclass
class Server:
    """A Git server that is reached by ssh.

    Attributes:
        url: Of its repository.
        repository: The same, here.
        mounted: What a pod has of it: ``key``, ``known_hosts``.
    """

    url: str
    repository: Path
    mounted: Path

    @property
    def branches(self) -> list[str]:
        return git(self.repository, "branch", "--format=%(refname:short)").split()


def key(path: Path) -> str:
    """A new pair of keys; the public one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path.with_name(f"{path.name}.pub").read_text().strip()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    assert SSHD and ME
    mounted, repository = tmp_path / "mounted", tmp_path / "platform.git"
    mounted.mkdir()
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(repository))
    git(tmp_path, "clone", "--quiet", str(repository), "first")
    git(tmp_path / "first", "commit", "--quiet", "--allow-empty", "-m", "begin")
    git(tmp_path / "first", "push", "--quiet", "origin", "HEAD:main")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "authorized").write_text(key(mounted / "key") + "\n")
    (mounted / "known_hosts").write_text(f"[127.0.0.1]:{port} {key(tmp_path / 'host')}\n")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PidFile": "none",
    }
    (tmp_path / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen([SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=log)
        try:
            for _ in range(100):
                if running.poll() is not None or "listening" in (tmp_path / "log").read_text():
                    break
                time.sleep(0.1)
            assert running.poll() is None, (tmp_path / "log").read_text()
            yield Server(f"ssh://{ME.pw_name}@127.0.0.1:{port}{repository}", repository, mounted)
        finally:
            running.terminate()
            running.wait(10)


@pytest.fixture(autouse=True)
def told(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pod that pushes is told, with its mount here."""
    spec = one(take(place, "staging", "egress-ssh"), "CronJob", "sync-registry")["spec"]["jobTemplate"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    command = next(e["value"] for e in container["env"] if e["name"] == "GIT_SSH_COMMAND")
    assert command.count("/etc/git/") == 2
    monkeypatch.setenv("GIT_SSH_COMMAND", command.replace("/etc/git/", f"{server.mounted}/"))


def test_a_version_is_pushed_by_ssh_and_found_there_again(server: Server) -> None:
    settings = GitopsSettings(repository=server.url)
    assert proposed(settings, wanted(), "why") == "committed on serve-self-emo-3, pushed"
    assert git(server.repository, "show", f"serve-self-emo-3:{FILE}") == wanted().to_yaml()
    assert proposed(settings, wanted(), "why") == "branch serve-self-emo-3 already holds the change"


def test_a_server_with_another_key_is_refused(server: Server, tmp_path: Path) -> None:
    known = server.mounted / "known_hosts"
    known.write_text(f"{known.read_text().split()[0]} {key(tmp_path / 'other')}\n")
    with pytest.raises(UserError, match="Host key verification failed"):
        proposed(GitopsSettings(repository=server.url), wanted(), "why")
    assert server.branches == ["main"]


def test_a_server_that_is_not_known_is_refused_and_not_learnt(server: Server) -> None:
    (server.mounted / "known_hosts").write_text("")
    with pytest.raises(UserError, match="Host key verification failed"):
        proposed(GitopsSettings(repository=server.url), wanted(), "why")
    assert (server.mounted / "known_hosts").read_text() == ""
    assert server.branches == ["main"]


def test_a_key_that_the_server_does_not_know_is_refused(server: Server, tmp_path: Path) -> None:
    key(tmp_path / "stranger")
    (tmp_path / "stranger").replace(server.mounted / "key")
    with pytest.raises(UserError, match="Permission denied"):
        proposed(GitopsSettings(repository=server.url), wanted(), "why")
    assert server.branches == ["main"]
