"""Float32 linear layers through oneDNN, on processors where what torch takes by itself is slow.

torch multiplies float32 matrices with MKL, which does not use AVX-512 on AMD's processors; oneDNN, which comes in the
same wheel, does, and is about twice as fast there (docs/performance.md). torch has no switch for that in full
precision (`torch.backends.mkldnn.matmul.fp32_precision` lowers it), so layers call the operator that torch's own
compiler emits. Defined here.
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
    """Let all linear layers of a model multiply with oneDNN, where that is faster; weights and names stay."""
    if is_faster():
        for module in model.modules():
            if type(module) is torch.nn.Linear:
                module.__class__ = OneDnnLinear


class OneDnnLinear(torch.nn.Linear):
    """A linear layer that multiplies float32 on the CPU with oneDNN, and all else as torch does."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See :class:`torch.nn.Linear`."""
        plain = input.device.type != "cpu" or torch.is_autocast_enabled("cpu") or input.dim() < 2 or not input.numel()
        if plain or not input.dtype == self.weight.dtype == torch.float32:
            return super().forward(input)
        if not torch.is_grad_enabled():
            return _multiply(input, self.weight, self.bias)
        return _Linear.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call,no-any-return]  # torch does not annotate it


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
