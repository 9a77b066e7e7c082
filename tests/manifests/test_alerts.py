"""The alerts, evaluated by Prometheus' own promtool on series as exporters give them: each fires, and only then."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, there
from tests.manifests.alerts import CASES, Case

RULES = ROOT / "manifests" / "components" / "monitoring" / "rules.yaml"
PROMTOOL = os.environ.get("SELFEMO_PROMTOOL") or shutil.which("promtool")

pytestmark = pytest.mark.skipif(not PROMTOOL, reason="no promtool: it comes with Prometheus; or set SELFEMO_PROMTOOL")


def rules() -> dict[str, Any]:
    (found,) = (o for o in yaml.safe_load_all(RULES.read_text()) if o["kind"] == "PrometheusRule")
    return {"groups": found["spec"]["groups"]}


@pytest.mark.parametrize("minutes", sorted({c.minutes for c in CASES.values()}))
def test_each_alert_fires_when_it_should_and_only_then(minutes: int, tmp_path: Path) -> None:
    assert PROMTOOL
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    texts = {r["alert"]: r for g in rules()["groups"] for r in g["rules"]}
    tests = [
        {
            "name": name,
            "interval": f"{case.minutes}m",
            "input_series": [{"series": s, "values": v} for s, v in case.series.items()],
            "alert_rule_test": [
                {
                    "eval_time": f"{case.after}m",
                    "alertname": case.alert,
                    "exp_alerts": [
                        {
                            "exp_labels": {**texts[case.alert]["labels"], **grouped(case)},
                            "exp_annotations": texts[case.alert]["annotations"],
                        }
                    ]
                    if case.fires
                    else [],
                }
            ],
        }
        for name, case in CASES.items()
        if case.minutes == minutes
    ]
    file = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{minutes}m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(file))
    done = subprocess.run(
        [PROMTOOL, "test", "rules", "tests.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def grouped(case: Case) -> dict[str, str]:
    """Labels that a share of requests keeps."""
    by_namespace = "by (namespace)" in next(
        r["expr"] for g in rules()["groups"] for r in g["rules"] if r["alert"] == case.alert
    )
    return {"namespace": "set-from-values"} if by_namespace else {}


def test_every_alert_is_tried_both_ways() -> None:
    alerts = {r["alert"] for g in rules()["groups"] for r in g["rules"]}
    for fires in (True, False):
        assert {c.alert for c in CASES.values() if c.fires is fires} == alerts


def test_the_namespace_is_the_first_and_only_one_that_is_quoted() -> None:
    """What components/values writes there is the first quoted word of an expression, and no other."""
    for group in rules()["groups"]:
        for rule in group["rules"]:
            if "namespace=" in rule["expr"]:
                assert re.findall(r'namespace="([^"]*)"', rule["expr"]) == ["set-from-values"]
                assert there(re.search(r'"([^"]*)"', rule["expr"])).group(1) == "set-from-values"
