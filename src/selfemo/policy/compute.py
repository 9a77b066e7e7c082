"""How a policy is computed here: precision, threads and batch sizes, from the configuration and the machine.

``auto`` follows the machine; the configuration can insist. Results depend on the choice by rounding alone, so a step's
address holds what the configuration says, and shards on two kinds of nodes are of one run. Defined here.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from selfemo import hardware
from selfemo.config import Config
from selfemo.config.platform import PolicySettings

log = logging.getLogger(__name__)

PACK_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one training pass: beyond 2048 a CPU gains nothing (docs/performance.md); a GPU wants more at once."""
CACHE_TOKENS = 16_000
"""Nodes that one forest may come to hold where there is memory: 0.7 GB in float32 for SmolLM2-135M."""
CACHE_SHARE = 4
"""Of the free memory, a forest takes at most one part in so many: attention and logits need room as well."""
SCORE_TOKENS = 2_048
"""Nodes that are scored in one pass. On a CPU 512 to 8,192 took the same time; the mask is of all nodes by all."""
FLEX_TOKENS = 2_048
"""Below, SDPA over the separate trees is as fast (docs/gpu.md); for very few, FlexAttention finds no kernel at all."""
FLEX_WIDTH = 16
"""Narrower heads, as a dry run's are, FlexAttention does not compute on a GPU."""


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


def choose(policy: PolicySettings) -> Compute:
    """Decide how to compute, and change nothing.

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
    as_it_is = on_gpu or "OMP_NUM_THREADS" in os.environ  # who sets it knows what else runs here
    threads = torch.get_num_threads() if as_it_is else hardware.cores()
    gpu = torch.cuda.get_device_name() if on_gpu else ""
    return Compute("cuda" if on_gpu else "cpu", bfloat16, threads, gpu)


def compute(policy: PolicySettings) -> Compute:
    """Decide how to compute; on a CPU this process's torch is given its threads.

    Args:
        policy: Section ``policy``.
    """
    import torch

    found = choose(policy)
    if found.threads != torch.get_num_threads():
        torch.set_num_threads(found.threads)
    _say(str(found))
    return found


def pack_tokens(config: Config, device: str) -> int:
    """Most tokens of one training pass: the configuration's, or what suits the device."""
    return config.launch.pack_tokens or PACK_TOKENS[device]


def free_memory(device: Any) -> int | None:
    """Bytes that are free for tensors.

    Args:
        device: ``cpu`` or a GPU's, a name or torch's.

    Returns:
        Of the GPU, or of what this process may take; None where the system does not say.
    """
    if not str(device).startswith("cuda"):
        return hardware.memory()
    import torch

    return int(torch.cuda.mem_get_info(device)[0])


def token_bytes(shape: Any, itemsize: int) -> int:
    """Bytes of a token's keys and values, of all layers.

    Args:
        shape: A decoder's configuration, by transformers' names.
        itemsize: Bytes of a number.
    """
    layers = getattr(shape, "per_layer_config", None)  # of a file it is a mapping of what differs, or not there
    if layers is None or isinstance(layers, dict):
        layers = [shape] * shape.num_hidden_layers
    return 2 * itemsize * sum(map(_width, layers))


def _width(layer: Any) -> int:
    """Numbers that a layer keeps of a token's keys: layers differ in their heads (Gemma 4)."""
    heads = getattr(layer, "num_key_value_heads", None) or layer.num_attention_heads
    return int(heads * (getattr(layer, "head_dim", None) or layer.hidden_size // layer.num_attention_heads))


def tokens_held(most: int, share: int, free: int | None, token: int) -> int:
    """Tokens whose keys and values are held at a time.

    Args:
        most: Where there is memory.
        share: One part in so many of the free memory is taken.
        free: Bytes of it; None is unknown.
        token: Bytes of one.
    """
    return most if free is None else max(1, min(most, free // share // token))


def flexible(device: str, *, half: bool, width: int, tokens: int) -> bool:
    """Whether FlexAttention is to compute a pack, rather than SDPA over its separate trees.

    Args:
        device: ``cpu`` or ``cuda``.
        half: In half precision.
        width: Of a head.
        tokens: Of the pack.
    """
    return device == "cuda" and half and width >= FLEX_WIDTH and tokens >= FLEX_TOKENS


@cache
def _say(line: str) -> None:
    """Once in a process."""
    log.info("%s", line)
