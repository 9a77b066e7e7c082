"""The log of a TrainJob that is waited for, and a launcher that is stopped while it reads it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from selfemo.cluster.launcher import Launcher
from selfemo.errors import UserError
from tests.cluster.conftest import NAME, PODS, Api, Time, job

LAUNCHER = """
import json, logging, sys
from kubernetes import client
from selfemo.cluster import joblog
from selfemo.cluster.launcher import Launcher
logging.basicConfig(level="INFO")
joblog.LAST_LINES = 600  # who waits for the log before the job is deleted, waits for longer than the test
configuration = client.Configuration(host=sys.argv[1])
Launcher(client.ApiClient(configuration), poll=0.2).run(json.loads(sys.argv[2]), minutes=10)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_launcher_that_is_told_to_stop_deletes_the_job_though_its_log_hangs(api: Api, number: signal.Signals) -> None:
    """Argo kills the container about a second after it has told it to stop."""
    api.objects[PODS, "self-emo", f"{NAME}-node-0-0"] = {
        "metadata": {"name": f"{NAME}-node-0-0", "namespace": "self-emo"},
        "status": {"phase": "Running"},
    }
    api.server[f"get /api/v1/namespaces/self-emo/pods/{NAME}-node-0-0/log"] << (b"step 1\n", ...)
    command = [sys.executable, "-c", LAUNCHER, api.client.configuration.host, json.dumps(job())]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "| step 1" in line:  # it reads the log, and the log never ends
                break
        process.send_signal(number)
        process.wait(timeout=120)
    finally:
        process.kill()
        process.stderr.close()
    assert not api.exists(NAME)
    assert len(api.calls("delete")) == 1


def test_the_last_lines_of_a_log_are_shown_though_the_time_is_up(
    api: Api, launcher: Launcher, caplog: pytest.LogCaptureFixture
) -> None:
    """Its poll is too long for the reader to look before the job is deleted."""
    api.objects[PODS, "self-emo", f"{NAME}-node-0-0"] = {
        "metadata": {"name": f"{NAME}-node-0-0", "namespace": "self-emo"},
        "status": {"phase": "Running"},
    }
    api.server[f"get /api/v1/namespaces/self-emo/pods/{NAME}-node-0-0/log"] << b"step 9\n"
    with caplog.at_level("INFO", "selfemo"), pytest.raises(UserError, match="has not ended"):
        launcher.run(job(), minutes=10)
    said = [r.getMessage() for r in caplog.records]
    assert said.index(f"TrainJob {NAME} is deleted") < said.index("| step 9")


def test_the_first_nodes_log_is_shown_without_control_characters(
    api: Api, launcher: Launcher, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    api.objects["v1/pods", "self-emo", f"{NAME}-node-0-0"] = {
        "metadata": {"name": f"{NAME}-node-0-0", "namespace": "self-emo"},
        "status": {"phase": "Running"},
    }
    api.server[f"get /api/v1/namespaces/self-emo/pods/{NAME}-node-0-0/log"] << b"step 1\n\x1b[31mred\n"
    time.meanwhile(lambda: api.say(NAME, "Complete"))
    with caplog.at_level("INFO", "selfemo"):
        launcher.run(job(), minutes=10)
    lines = [r.getMessage() for r in caplog.records]
    assert "| step 1" in lines
    assert not any("\x1b" in line for line in lines)


def test_a_log_that_cannot_be_read_does_not_matter(api: Api, launcher: Launcher, time: Time) -> None:
    api.server["get /api/v1/namespaces/self-emo/pods"] << 403
    time.meanwhile(lambda: api.say(NAME, "Complete"))
    launcher.run(job(), minutes=10)
