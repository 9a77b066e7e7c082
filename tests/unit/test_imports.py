"""Steps import what they use: the slim pipeline image has no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "trl",
    "deepspeed",
    "vllm",
    "sklearn",
    "matplotlib",
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
