"""Quantities of cores and memory as Kubernetes takes them, in the forms that Kubeflow Pipelines takes too.

Kubernetes' own: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator

_FORM = re.compile(r"(\d+\.?\d*|\.\d+)(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i))?")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_KFP_CPU = re.compile(r"([0-9]*[.])?[0-9]+m?")
_KFP_MEMORY = re.compile(r"[0-9]+([EPTGM]i?|Ki?)?")


def amount(text: str) -> Decimal:
    """The number that a quantity stands for.

    Raises:
        ValueError: If it is no quantity, or not above 0.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity: write it as Kubernetes does, such as 500m, 2, 16Gi")
    number, exponent, unit = match.groups()
    value = Decimal(number + (exponent or ""))
    if unit:
        factor = Decimal(1024) ** "KMGTPE".index(unit[0]) * 1024 if unit.endswith("i") else Decimal(10) ** _POWERS[unit]
        value *= factor
    if value <= 0:
        raise ValueError(f"{text!r} is nothing: a pod needs more than 0")
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("not a quantity: write it as Kubernetes does, such as 500m, 2, 16Gi")
    return str(value)


def _cpu(value: Any) -> str:
    text = _text(value)
    milli = (amount(text) * 1000).to_integral_value(ROUND_CEILING)  # Kubernetes rounds up
    return text if _KFP_CPU.fullmatch(text) else f"{milli:f}m"


def _memory(value: Any) -> str:
    text = _text(value)
    whole = amount(text).to_integral_value(ROUND_CEILING)
    return text if _KFP_MEMORY.fullmatch(text) else f"{whole:f}"


Cpu = Annotated[str, BeforeValidator(_cpu)]
"""Cores: ``1``, ``0.5``, ``"500m"``."""
Memory = Annotated[str, BeforeValidator(_memory)]
"""Bytes: ``"16Gi"``, ``"1.5Gi"``, ``128974848``."""
