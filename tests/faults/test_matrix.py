"""A sample of `make faults`, and that the matrix is what it says; the whole: tests/faults/matrix.py."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.points import SERVERS, STEPS, WEIGHTS, draw
from tests.faults.proxy import KINDS, Proxy
from tests.unit.s3.server import Server


def test_a_hundred_points_are_the_same_for_a_seed_and_leave_no_area_and_no_fault_out() -> None:
    points = draw(120, 7)
    assert points == draw(120, 7) != draw(120, 8)
    assert [p.number for p in points] == list(range(1, 121))
    assert set(Counter(p.area for p in points)) == set(WEIGHTS)
    others = {"disk full", "killed at a file", "clock off", "killed while computing", "killed"}
    assert {p.fault for p in points} >= set(KINDS) | others
    assert {p.work for p in points} >= {*STEPS, "promote", "rollback", "publish", "fetch"}
    assert {p.details["server"] for p in points if p.area == "servers"} == set(SERVERS)


def test_fewer_areas_have_all_the_points() -> None:
    assert Counter(p.area for p in draw(7, 1, ("publishing", "fetching")))["publishing"] in (3, 4)


@pytest.fixture
def behind() -> Iterator[tuple[Proxy, Server]]:
    server = Server()
    proxy = Proxy(server.uri)
    threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
    yield proxy, server
    proxy.shutdown()
    proxy.server_close()
    server.stop()


def ask(proxy: Proxy, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", proxy.server_port, timeout=30)
    try:
        client.request(method, path, body)
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


@pytest.mark.parametrize(
    ("kind", "arrives", "seen"),
    [
        ("lost reply", True, (OSError, http.client.HTTPException)),
        ("reset", False, (OSError, http.client.HTTPException)),
        ("5xx", False, 503),
        ("5xx after", True, 503),
        ("delayed", True, 200),
    ],
)
def test_a_fault_befalls_its_request_and_no_other(
    behind: tuple[Proxy, Server], kind: str, arrives: bool, seen: int | tuple[type[Exception], ...]
) -> None:
    proxy, server = behind
    ask(proxy, "POST", "/__fault__", json.dumps({"at": 1, "kind": kind, "seconds": 0.01}).encode())
    assert ask(proxy, "PUT", "/b/first", b"1")[0] == 200
    if isinstance(seen, int):
        assert ask(proxy, "PUT", "/b/second", b"2")[0] == seen
    else:
        with pytest.raises(seen):
            ask(proxy, "PUT", "/b/second", b"2")
    assert ("/b/second" in server.objects) is arrives
    assert ask(proxy, "GET", "/b/first") == (200, b"1")
    assert ask(proxy, "GET", "/__count__") == (200, b"3")


def test_a_reply_that_is_cut_off_has_another_length_than_it_says(behind: tuple[Proxy, Server]) -> None:
    proxy, server = behind
    server.objects["/b/x"] = b"0123456789"
    ask(proxy, "POST", "/__fault__", json.dumps({"at": 0, "kind": "cut reply"}).encode())
    with pytest.raises(http.client.IncompleteRead):
        ask(proxy, "GET", "/b/x")


def test_of_a_sample_with_real_servers_every_point_ends_right(workdir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.matrix", "--points", "5", "--seed", "3", "--place", str(tmp_path)]
    command += ["--areas", "publishing,fetching", "--workdir", str(workdir)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 points: 5 ended right, 0 wrong." in done.stdout
