"""What this process may use of the machine: cores, memory, the processor's instructions. No library is asked.

A container's limit is not what the machine has: cores and memory come from the control group where there is one.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

_ROOT = Path("/")
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "avx")
"""Of x86, those that decide how fast matrices are multiplied; the first that a processor has describes it."""
_FAST_BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""Without one of these a product of bfloat16 matrices is some 30 times slower than of float32 (docs/performance.md)."""


def cores(root: Path = _ROOT) -> int:
    """Whole cores that this process may use; at least 1, so a limit below one core means one thread.

    Args:
        root: Where the control group's files are looked for.
    """
    sees = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return max(1, sees if quota is None else min(sees, int(quota)))


def _quota(root: Path) -> float | None:
    """The control group's limit in cores, of version 2 or 1; None if there is none."""
    groups = root / "sys/fs/cgroup"
    words = (_read(groups / "cpu.max") or "").split()
    if not words:
        words = [
            w.strip() for w in (_read(groups / f"cpu/cpu.cfs_{n}_us") or "" for n in ("quota", "period")) if w.strip()
        ]
    if len(words) != 2 or not all(w.isdigit() for w in words) or not int(words[1]):
        return None  # "max", or -1: no limit
    return int(words[0]) / int(words[1])


def memory(root: Path = _ROOT) -> int | None:
    """Bytes that this process may still take; None where the system does not say.

    Args:
        root: Where the system's files are looked for.
    """
    free = [b for b in (_available(root), _group_free(root)) if b is not None]
    return min(free) if free else None


def _available(root: Path) -> int | None:
    lines = (_read(root / "proc/meminfo") or "").splitlines()
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:")), None)


def _group_free(root: Path) -> int | None:
    groups = root / "sys/fs/cgroup"
    pairs = (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    )
    for names in pairs:
        limit, used = ((_read(groups / n) or "").strip() for n in names)
        if limit.isdigit() and used.isdigit():
            return max(0, int(limit) - int(used))
    return None


def disk(place: Path) -> int:
    """Bytes that are free where a file or directory lies, or would lie once it is made."""
    there = next(p for p in (place, *place.parents) if p.exists())
    return shutil.disk_usage(there).free


def gpus(root: Path = _ROOT) -> int:
    """NVIDIA's GPUs that the system, or the container, gives to this process, whether or not a library can use them.

    Args:
        root: Where the devices are looked for.
    """
    return sum(file.name.removeprefix("nvidia").isdecimal() for file in (root / "dev").glob("nvidia*"))


def instructions(root: Path = _ROOT) -> str:
    """The best of :data:`INSTRUCTIONS` that the processor has, else its architecture."""
    flags = _flags(root)
    return next((name for name in INSTRUCTIONS if name in flags), platform.machine())


def fast_bfloat16(root: Path = _ROOT) -> bool:
    """Whether the processor multiplies bfloat16 matrices by instructions of its own, and oneDNN is let use them."""
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    held_back = bool(most) and not any(name in most for name in ("BF16", "FP16", "AMX", "AVX10", "DEFAULT", "ALL"))
    return not held_back and any(name in _flags(root) for name in _FAST_BFLOAT16)


def processor(root: Path = _ROOT) -> str:
    """The processor's name."""
    lines = (_read(root / "proc/cpuinfo") or "").splitlines()
    named = (x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def describe() -> str:
    """The machine in a few words, for records and benchmarks: cores, processor, instructions, system."""
    return f"{cores()} cores, {processor()} ({instructions()}), {platform.system()}"


def _flags(root: Path) -> frozenset[str]:
    lines = (_read(root / "proc/cpuinfo") or "").splitlines()
    return frozenset(next((x.partition(":")[2].split() for x in lines if x.startswith("flags")), ()))


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
