"""Steps import what they use: the slim pipeline image has no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "trl", "vllm", "sklearn", "matplotlib", "mlflow", "kfp", "kubernetes")


@pytest.mark.parametrize(
    "module", ["steps", "flywheel", "gate", "promotion", "report", "selfplay", "measure", "training.rewards", "runner"]
)
def test_importing_a_module_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, selfemo.{module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
