"""Linear layers on a CPU: what oneDNN does well, and what it must be spared.

torch multiplies float32 matrices with MKL, which does not use AVX-512 on AMD's processors; oneDNN, which comes in the
same wheel, does, and is about twice as fast there (docs/performance.md). torch has no switch for that in full
precision (`torch.backends.mkldnn.matmul.fp32_precision` lowers it), so layers call the operator that torch's own
compiler emits.

oneDNN compiles a product anew for each number of rows, and keeps what it compiled with room for the weights: a thousand
of them. Trees of tokens hardly ever have as many nodes twice, so a process that works on many grows by a gigabyte and
more. So rows are filled up to one of a few numbers. Defined here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.autograd.function import once_differentiable


@cache
def is_faster() -> bool:
    """Is this one of the processors, and the operator there?"""
    processor = Path("/proc/cpuinfo")
    return (
        processor.is_file()
        and "AuthenticAMD" in processor.read_text()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def use(model: torch.nn.Module) -> None:
    """Let all linear layers of a model multiply as this module says; weights and names stay."""
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = OneDnnLinear


def filled(rows: int) -> int:
    """The number that so many rows are filled up to: sixteen in each octave, so that a sixteenth is added at most."""
    step = 1 << max(0, rows.bit_length() - 5)
    return -(-rows // step) * step


class OneDnnLinear(torch.nn.Linear):
    """A linear layer that on the CPU multiplies with oneDNN, in half precision and where that is faster in float32."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See :class:`torch.nn.Linear`."""
        if input.device.type != "cpu" or input.dim() < 2 or not input.numel():
            return super().forward(input)
        half = torch.is_autocast_enabled("cpu") or input.dtype == torch.bfloat16
        if not half and not (input.dtype == self.weight.dtype == torch.float32 and is_faster()):
            return super().forward(input)
        rows = input.flatten(0, -2)
        count = len(rows)
        if more := filled(count) - count:
            rows = torch.nn.functional.pad(rows, (0, 0, 0, more))
        found: torch.Tensor
        if half:
            found = super().forward(rows)
        elif not torch.is_grad_enabled():
            found = _multiply(rows, self.weight, self.bias)
        else:
            found = _Linear.apply(rows, self.weight, self.bias)  # type: ignore[no-untyped-call]  # torch does not annotate it
        return found[:count].view(*input.shape[:-1], found.shape[-1])


def _multiply(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``left @ right.T + bias``; neither needs to lie in order."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")  # type: ignore[no-any-return]  # the library has no types


class _Linear(torch.autograd.Function):
    """The operator has no gradient of its own; that of a product is two more."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        return _multiply(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        return (
            _multiply(grad, weight.t()) if ctx.needs_input_grad[0] else None,
            _multiply(rows.t(), input.flatten(0, -2).t()) if ctx.needs_input_grad[1] else None,
            rows.sum(0) if ctx.needs_input_grad[2] else None,
        )
