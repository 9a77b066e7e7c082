"""Run the compiled pipeline on this machine: ``python -m pipelines.local CONFIG.json``.

The same checked-in form that a cluster runs, under KFP's SubprocessRunner: every step is a process of its own.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path


def run(config: str, rounds: int) -> bool:
    """Run the loop; whether it succeeded.

    Args:
        config: As JSON.
        rounds: That the compiled form must have room for.
    """
    warnings.filterwarnings("ignore")
    from kfp import components, local

    from pipelines.compile import form_for

    pipeline = components.load_component_from_file(str(form_for(rounds)))
    with tempfile.TemporaryDirectory(prefix="selfemo-") as outputs:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=outputs, raise_on_error=True)
        try:
            pipeline(config=config)
        except RuntimeError as error:  # what KFP raises for a failed task; its log stands above
            print(error, file=sys.stderr)
            return False
    return True


def main() -> int:
    """Entry point."""
    from selfemo.config import Config

    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    return 0 if run(text, Config.from_json(text).loop.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
