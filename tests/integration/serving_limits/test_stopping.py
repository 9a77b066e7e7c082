"""The server stops in time, and tells the clients that wait."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys

import pytest

from tests.integration.serving_limits.clients import in_threads, joined
from tests.integration.serving_limits.served import CHAT, SECONDS, Start


def test_it_stops_in_time_and_tells_those_that_wait(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    running = start(stop_seconds=0, together=1)
    threads, results = in_threads(3, lambda i: running.chat(f"chat {i}"))
    running.holds(3)
    running.begun(1)
    running.stop()
    joined(threads)
    assert [(status, body["error"]["type"]) for status, body, _ in results] == [(503, "server_error")] * 3
    assert len(running.engine.begun) == 1
    assert "Traceback" not in capfd.readouterr().err


STOPS = """
import socket, sys, threading
from tests.integration.serving_limits.served import Engine, Player
from selfemo.serving.app import app
from selfemo.serving.limits import Limits
from selfemo.serving.server import server
from selfemo.serving.service import Service

class Endless(Engine):
    def sample(self, *_):
        print("begun", flush=True)
        threading.Event().wait()

limits = Limits(stop_seconds=0)
service = Service(Player(Endless()), "self-emo", "sample", {}, {})
made = app(service, limits=limits)
told = lambda: print("at its end", flush=True)
server(made, "127.0.0.1", 0, limits, made.state.scheduler, at_end=told).run([socket.socket(fileno=int(sys.argv[1]))])
"""


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_an_engine_that_never_ends_does_not_keep_the_process(told: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-c", STOPS, str(listening.fileno())]
        host, port = listening.getsockname()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[listening.fileno()]) as process:
            try:
                connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
                connection.request(
                    "POST", "/v1/chat/completions", json.dumps(CHAT), {"content-type": "application/json"}
                )
                assert process.stdout
                assert process.stdout.readline() == "begun\n"
                process.send_signal(told)
                assert connection.getresponse().status == 503
                assert process.stdout.read() == "at its end\n", "before the signal ends the process"
                process.wait(SECONDS)
            finally:
                process.kill()
