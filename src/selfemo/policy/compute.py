"""How a policy is computed here: precision, threads and batch sizes, from the configuration and the machine.

``auto`` follows the machine; the configuration can insist. Results depend on the choice by rounding alone, so a step's
address holds what the configuration says, and shards on two kinds of nodes are of one run. Defined here.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cache

from selfemo import hardware
from selfemo.config.platform import Policy

log = logging.getLogger(__name__)

PACK_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one training pass: beyond 2048 a CPU gains nothing (docs/performance.md); a GPU wants more at once."""


@dataclass(frozen=True)
class Compute:
    """What a policy runs on.

    Attributes:
        device: ``cuda`` or ``cpu``.
        bfloat16: Sample in bfloat16, and train float32 weights under bfloat16 autocast; else all is float32.
        threads: On the CPU.
        gpu: Its name, where there is one.
    """

    device: str
    bfloat16: bool
    threads: int
    gpu: str = ""

    def __str__(self) -> str:
        """One line for a person."""
        number = "bfloat16" if self.bfloat16 else "float32"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        where = self.gpu or f"{hardware.processor()} ({hardware.instructions()})"
        return f"computing in {number}, {threads}, on {where}"


def compute(policy: Policy) -> Compute:
    """Decide how to compute; on a CPU this process's torch is given its threads.

    Args:
        policy: Section ``policy``.
    """
    import torch

    on_gpu = torch.cuda.is_available()
    if policy.precision != "auto":
        bfloat16 = policy.precision == "bfloat16"
    elif on_gpu:
        bfloat16 = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    else:
        bfloat16 = hardware.fast_bfloat16()
    if not on_gpu and "OMP_NUM_THREADS" not in os.environ:  # who sets it knows what else runs here
        torch.set_num_threads(hardware.cores())
    gpu = torch.cuda.get_device_name() if on_gpu else ""
    found = Compute("cuda" if on_gpu else "cpu", bfloat16, torch.get_num_threads(), gpu)
    _say(str(found))
    return found


@cache
def _say(line: str) -> None:
    """Once in a process."""
    log.info("%s", line)
