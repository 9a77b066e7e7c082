"""Linear layers through oneDNN are torch's linear layers: the same values, gradients, names and files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfemo.policy import onednn
from selfemo.policy.trees.attention import enable
from selfemo.policy.weights import load_model

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch was built without oneDNN"
)


def both(inputs: int, outputs: int, bias: bool) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    stock = torch.nn.Linear(inputs, outputs, bias=bias)
    ours = copy.deepcopy(stock)
    ours.__class__ = onednn.OneDnnLinear
    return stock, ours


def test_only_float32_outside_of_autocast_takes_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    taken = []
    real = onednn._multiply

    def noted(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        taken.append(1)
        return real(left, right, bias)

    monkeypatch.setattr(onednn, "_multiply", noted)
    _, ours = both(8, 4, True)
    rows = torch.randn(3, 8)
    ours(rows)
    assert taken == [1]
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(rows).dtype == torch.bfloat16
    assert ours.bfloat16()(rows.bfloat16()).dtype == torch.bfloat16
    assert taken == [1]


@given(st.integers(1, 100_000))
def test_rows_are_filled_up_by_a_sixteenth_at_most(rows: int) -> None:
    assert rows <= onednn.filled(rows) <= rows * 17 / 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_whatever_numbers_of_rows_come_the_product_is_made_for_few(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN keeps what it compiled for each."""
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    made: set[int] = set()
    multiply, linear = onednn._multiply, torch.nn.functional.linear

    def noted(of: Any) -> Any:
        def call(rows: torch.Tensor, *others: Any) -> torch.Tensor:
            made.add(len(rows))
            found: torch.Tensor = of(rows, *others)
            return found

        return call

    monkeypatch.setattr(onednn, "_multiply", noted(multiply))
    monkeypatch.setattr(torch.nn.functional, "linear", noted(linear))
    stock, ours = (layer.to(dtype).requires_grad_(False) for layer in both(3, 2, True))
    for count in range(1, 2048):
        rows = torch.randn(1, count, 3).to(dtype)
        assert torch.allclose(ours(rows).float(), linear(rows, stock.weight, stock.bias).float(), atol=1e-2)
    assert made == {onednn.filled(n) for n in range(1, 2048)} and len(made) <= 128


shapes = st.sampled_from([(), (1,), (7,), (2, 3), (1, 33), (0,), (0, 5)])
sizes = st.integers(1, 70)


@given(shapes, sizes, sizes, st.booleans(), st.booleans(), st.booleans())
def test_values_and_gradients_are_those_of_torch(
    rows: tuple[int, ...], inputs: int, outputs: int, bias: bool, of_weights: bool, of_inputs: bool
) -> None:
    stock, ours = both(inputs, outputs, bias)
    one = torch.randn(*rows, inputs)
    two = one.clone()
    downstream = torch.randn(*rows, outputs)
    for layer, given_ in ((stock, one), (ours, two)):
        layer.weight.requires_grad_(of_weights)
        given_.requires_grad_(of_inputs)
        out = layer(given_)
        if out.requires_grad:
            out.backward(downstream)
    with torch.no_grad():
        torch.testing.assert_close(ours(two), stock(one), rtol=1e-5, atol=1e-5)
    gradients = [(two.grad, one.grad), (ours.weight.grad, stock.weight.grad)]
    if bias:
        gradients.append((ours.bias.grad, stock.bias.grad))
    for mine, expected in gradients:
        assert (mine is None) == (expected is None)
        if mine is not None:
            torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


def test_a_model_keeps_its_names_and_weights(tiny_of_each_kind: Path) -> None:
    before = load_model(str(tiny_of_each_kind))
    weights = {name: tensor.clone() for name, tensor in before.state_dict().items()}
    enable(before)
    linear = [m for m in before.modules() if isinstance(m, torch.nn.Linear)]
    assert linear and all(type(m) is onednn.OneDnnLinear for m in linear)
    after = before.state_dict()
    assert list(after) == list(weights)
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
