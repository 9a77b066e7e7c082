"""What the kubelet asks the servers: of none that works on a busy node is it said that it does not."""

from __future__ import annotations

import pytest

from manifests.objects import pods
from pipelines import forms
from tests.conftest import ROOT

MANIFESTS = ROOT / "manifests"
SERVING = "components/serving-deployment/objects/serving.yaml"


def test_the_server_has_time_to_stop_before_it_is_killed_and_probes_ask_what_needs_no_key() -> None:
    from selfemo.serving.limits import HEALTH, LIVE, Limits

    (deployment,) = (o for o in forms.parse((MANIFESTS / SERVING).read_text()) if o["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= Limits().stop_seconds + 5  # and some for the rest
    (container,) = pod["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == (LIVE if probe == "livenessProbe" else HEALTH), probe


SERVERS = [
    "base/mlflow/server.yaml",
    "components/postgres/postgres.yaml",
    "components/seaweedfs/seaweedfs.yaml",
    SERVING,
]


@pytest.mark.parametrize("file", SERVERS)
def test_no_server_is_killed_because_its_node_is_busy(file: str) -> None:
    """Kubernetes' own second was too short for `pg_isready` on two busy cores: it ended a Postgres that worked."""
    for pod in (pod for one in forms.parse((MANIFESTS / file).read_text()) for pod in pods(one)):
        for container in pod["containers"]:
            assert container["readinessProbe"]["timeoutSeconds"] >= 5
            assert container["livenessProbe"]["timeoutSeconds"] >= 10
