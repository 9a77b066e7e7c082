"""What a process may use is what the container gives it, not what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from selfemo import hardware
from selfemo.config.platform import PolicySettings
from selfemo.policy import compute


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1),
        ({"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),  # a limit below one is one thread
        ({"sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 8),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_cores_are_those_of_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert hardware.cores(machine(tmp_path, files)) == cores


def test_memory_is_what_the_system_and_the_control_group_both_leave(tmp_path: Path) -> None:
    assert hardware.memory(tmp_path) is None
    machine(tmp_path, {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4096 kB\n"})
    assert hardware.memory(tmp_path) == 4096 * 1024
    machine(tmp_path, {"sys/fs/cgroup/memory.max": "3000000\n", "sys/fs/cgroup/memory.current": "1000000\n"})
    assert hardware.memory(tmp_path) == 2_000_000


def test_a_disk_is_that_of_the_directory_or_of_the_one_that_it_will_be_made_in(tmp_path: Path) -> None:
    assert hardware.disk(tmp_path / "not" / "yet") == pytest.approx(hardware.disk(tmp_path), rel=0.1)


def test_gpus_are_those_that_the_container_is_given(tmp_path: Path) -> None:
    assert hardware.gpus(tmp_path) == 0
    machine(tmp_path, {f"dev/nvidia{name}": "" for name in ("0", "1", "ctl", "-uvm")})
    assert hardware.gpus(tmp_path) == 2


@pytest.mark.parametrize(
    ("flags", "named", "fast"),
    [
        ("fpu avx avx2", "avx2", False),
        ("avx avx2 avx512f", "avx512f", False),
        ("avx2 avx512f avx512_bf16", "avx512_bf16", True),
        ("avx2 avx512f avx512_bf16 amx_tile amx_bf16", "amx_bf16", True),
    ],
)
def test_bfloat16_is_fast_where_the_processor_multiplies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, named: str, fast: bool
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    root = machine(tmp_path, {"proc/cpuinfo": f"processor : 0\nmodel name : A CPU\nflags\t\t: {flags}\n"})
    assert (hardware.instructions(root), hardware.fast_bfloat16(root)) == (named, fast)
    assert hardware.processor(root) == "A CPU"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not hardware.fast_bfloat16(root)


@pytest.mark.parametrize("fast", [True, False])
def test_auto_follows_the_machine_and_the_configuration_can_insist(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(hardware, "fast_bfloat16", lambda: fast)
    assert compute.compute(PolicySettings()).bfloat16 is fast
    assert compute.compute(PolicySettings(precision="bfloat16")).bfloat16
    assert not compute.compute(PolicySettings(precision="float32")).bfloat16


def test_how_it_computes_is_said_in_one_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(compute.log, "info", lambda form, *given: said.append(form % given))
    compute._say.cache_clear()
    first = compute.compute(PolicySettings(precision="float32"))
    compute.compute(PolicySettings(precision="float32"))
    assert said == [str(first)]
    assert str(first).startswith("computing in float32, ")


def test_a_gpu_is_named_in_that_line(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU of 80 GB")
    found = compute.compute(PolicySettings())
    assert (found.device, found.bfloat16) == ("cuda", True)
    assert str(found).endswith(", on A GPU of 80 GB")
