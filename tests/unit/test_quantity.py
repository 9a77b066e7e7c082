"""Quantities are taken where Kubernetes takes them, and put so that Kubeflow Pipelines takes them too."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from selfemo.config import load
from selfemo.config.quantity import _KFP_CPU, _KFP_MEMORY, Cpu, Memory, amount
from selfemo.errors import UserError

CPU, MEMORY = TypeAdapter(Cpu), TypeAdapter(Memory)


@pytest.mark.parametrize(
    ("given", "cpu"),
    [(1, "1"), (0.5, "0.5"), ("500m", "500m"), ("1e1", "10000m"), (".5", ".5"), ("1k", "1000000m")],
)
def test_cores(given: Any, cpu: str) -> None:
    assert CPU.validate_python(given) == cpu


@pytest.mark.parametrize(
    ("given", "memory"),
    [("16Gi", "16Gi"), (128974848, "128974848"), ("1.5Gi", "1610612736"), ("129e6", "129000000"), ("500k", "500000")],
)
def test_memory(given: Any, memory: str) -> None:
    assert MEMORY.validate_python(given) == memory


@pytest.mark.parametrize("given", ["", "two", "1 Gi", "-1", 0, True, None, [1], "1GiB", "0Mi", float("nan")])
def test_what_is_no_quantity_is_refused(given: Any) -> None:
    for kind in (CPU, MEMORY):
        with pytest.raises(ValidationError, match=r"quantity|more than 0"):
            kind.validate_python(given)


@given(
    st.decimals(min_value="0.001", max_value="1e6", places=3),
    st.sampled_from(["", "m", "k", "Ki", "M", "Gi", "e2", "E-1"]),
)
def test_any_quantity_comes_out_in_a_form_of_kubeflows_and_not_below_what_it_was(number: Decimal, unit: str) -> None:
    text = f"{number:f}{unit}"
    cpu, memory = CPU.validate_python(text), MEMORY.validate_python(text)
    assert _KFP_CPU.fullmatch(cpu) and _KFP_MEMORY.fullmatch(memory)
    assert amount(text) <= amount(cpu) < amount(text) + Decimal("0.001")
    assert amount(text) <= amount(memory) < amount(text) + 1


def test_a_configuration_may_say_cpu_1() -> None:
    assert load(None, ["cluster.pods.light.cpu=1", "cluster.pods.train.shm=1.5Gi"]).cluster.pods.light.cpu == "1"
    with pytest.raises(UserError, match="no quantity: write it as Kubernetes does"):
        load(None, ["cluster.pods.light.cpu=lots"])
