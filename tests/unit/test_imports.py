"""Steps import what they use: the slim pipeline image has no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

LINES = 300
"""Of a module, at most: what can be read at one go."""
HEAVY = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "trl",
    "wordllama",
    "deepspeed",
    "vllm",
    "sklearn",
    "altair",
    "jinja2",
    "vl_convert",
    "pyarrow",
    "pandas",
    "py3langid",
    "phonenumbers",
    "detect_secrets",
    "pyap",
    "mlflow",
    "kfp",
    "kubernetes",
)


@pytest.mark.parametrize(
    "module",
    [
        "cli",
        "context",
        "steps",
        "method.flywheel.filtering",
        "method.gate",
        "registry.promotion",
        "report.page",
        "method.selfplay",
        "local.runner",
        "training.reward_functions",
        "processes",
        "policy.trees.tree",
        "policy.engine",
        "policy.adapters",
        "policy.weights",
        "policy.vllm_engine",
    ],
)
def test_importing_a_module_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, selfemo.{module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_module_is_longer_than_can_be_read_at_one_go() -> None:
    folders = ("src", "components", "pipelines", "manifests", "benchmarks", "tests")
    files = [f for folder in folders for f in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    assert [str(f) for f in files if len(f.read_text(encoding="utf-8").splitlines()) > LINES] == []
