"""Float32 linear layers as torch multiplies them and through oneDNN, for all layers of SmolLM2-135M's body.

python benchmarks/linear.py [--pairs 5]

Interleaved, medians, in milliseconds: the forward pass, and with it the backward pass to inputs and weights.
"""

from __future__ import annotations

import copy
import statistics
import time

import torch
from harness import machine
from subjects import parser

from selfemo.policy import onednn

LAYERS = 30
SHAPES = [(576, 576), (576, 192), (576, 192), (576, 576), (576, 1536), (576, 1536), (1536, 576)]
"""Inputs and outputs of a layer's seven linear maps."""


def milliseconds(layers: list[torch.nn.Linear], inputs: dict[int, torch.Tensor], backward: bool) -> float:
    """One pass through every map, each with an input of its own."""
    start = time.perf_counter()
    for layer in layers:
        with torch.set_grad_enabled(backward):
            out = layer(inputs[layer.in_features])
        if backward:
            out.backward(out)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    given = parser(__doc__).parse_args()
    torch.manual_seed(given.seed)
    stock = [torch.nn.Linear(i, o, bias=False) for _ in range(LAYERS) for i, o in SHAPES]
    ours = copy.deepcopy(stock)
    for layer in ours:
        layer.__class__ = onednn.OneDnnLinear
    print(f"float32, medians of {given.pairs} interleaved pairs; {machine()}; used here: {onednn.is_faster()}\n")
    print("| rows | torch forward ms | oneDNN | ratio | torch with backward ms | oneDNN | ratio |")
    print("|---|---|---|---|---|---|---|")
    for rows in (1, 8, 32, 128, 512, 2048):
        cells = [str(rows)]
        for backward in (False, True):
            inputs = {size: torch.randn(rows, size, requires_grad=backward) for size in (576, 1536)}
            took = [[milliseconds(one, inputs, backward) for one in (stock, ours)] for _ in range(given.pairs + 1)][1:]
            torch_ms, onednn_ms = (statistics.median(pair[at] for pair in took) for at in (0, 1))
            ratio = statistics.median(a / b for a, b in took)
            cells += [f"{torch_ms:.1f}", f"{onednn_ms:.1f}", f"{ratio:.2f}"]
            for layer in (*stock, *ours):
                layer.weight.grad = None
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
