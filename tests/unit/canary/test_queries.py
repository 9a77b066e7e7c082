"""What Prometheus is asked, evaluated by its own promtool on series as the two servers give them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from selfemo.canary.prometheus import REQUESTS, SECONDS, query
from selfemo.config.canary import Server

PROMTOOL = os.environ.get("SELFEMO_PROMTOOL") or shutil.which("promtool")
SERVER = Server(url="http://serving-canary", series='job="self-emo/serving-canary"')

pytestmark = pytest.mark.skipif(not PROMTOOL, reason="no promtool: it comes with Prometheus; or set SELFEMO_PROMTOOL")


def series(name: str, **labels: str) -> str:
    given = {"job": "self-emo/serving-canary", **labels}
    return name + "{" + ", ".join(f'{label}="{value}"' for label, value in given.items()) + "}"


OURS = {"path": "/v1/emotions", "pod": "a"}
CASES: dict[str, tuple[tuple[str, ...], str, dict[str, str], dict[str, float]]] = {
    "counters that rise": (
        REQUESTS,
        "status",
        {series("selfemo_requests_total", status="200", **OURS): "0+10x20"},
        {"200": 100},
    ),
    "what a series has when it is first seen counts": (
        REQUESTS,
        "status",
        {
            series("selfemo_requests_total", status="200", **OURS): "0+10x20",
            series("selfemo_requests_total", status="500", **OURS): "_x15 7x10",
        },
        {"200": 100, "500": 7},
    ),
    "a server that was there before counts from the window's begin": (
        REQUESTS,
        "status",
        {series("selfemo_requests_total", status="200", **OURS): "1000+10x20"},
        {"200": 100},
    ),
    "a server that starts anew": (
        REQUESTS,
        "status",
        {series("selfemo_requests_total", status="200", **OURS): "0+10x15 0+10x5"},
        {"200": 90},
    ),
    "another's requests, and those of no model, are not counted": (
        REQUESTS,
        "status",
        {
            series("selfemo_requests_total", status="200", **OURS): "0+10x20",
            series("selfemo_requests_total", status="404", path="other"): "0+10x20",
            series("selfemo_requests_total", status="500", path="/v1/emotions", job="self-emo/serving"): "0+10x20",
        },
        {"200": 100},
    ),
    "vLLM's own server": (
        REQUESTS,
        "status",
        {series("http_requests_total", handler="/v1/chat/completions", status="5xx"): "0+10x20"},
        {"5xx": 100},
    ),
    "seconds by bound": (
        SECONDS,
        "le",
        {
            series("selfemo_request_seconds_bucket", le="0.5", **OURS): "0+8x20",
            series("selfemo_request_seconds_bucket", le="+Inf", **OURS): "0+10x20",
        },
        {"0.5": 80, "+Inf": 100},
    ),
    "vLLM's seconds": (
        SECONDS,
        "le",
        {series("vllm:e2e_request_latency_seconds_bucket", le="0.5"): "0+8x20"},
        {"0.5": 80},
    ),
}


def test_each_query_counts_what_it_should(tmp_path: Path) -> None:
    """Ten minutes back, twenty minutes after the series begin, a value a minute."""
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": s, "values": values} for s, values in given.items()],
            "promql_expr_test": [
                {
                    "expr": f"round({query(metrics, label, SERVER, 600)})",
                    "eval_time": "20m",
                    "exp_samples": [{"labels": f'{{{label}="{k}"}}', "value": value} for k, value in wanted.items()],
                }
            ],
        }
        for name, (metrics, label, given, wanted) in CASES.items()
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"tests": tests}))
    done = subprocess.run([str(PROMTOOL), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
