"""What every section of the configuration is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from selfemo.shown import has_credentials


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values are final, and nothing in it is secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads `yes` as true, which would count as 1.
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and not {bool, Any} & {kind, *get_args(kind)}:
            raise ValueError(f"{str(value).lower()} (as yes and no are read) is none of its values")
        return value

    @field_validator("*")
    @classmethod
    def _nothing_secret_nor_unwritable(cls, value: Any) -> Any:
        # A configuration is a parameter of its run: MLflow, Kubeflow, the store and pages show it.
        for text in _texts(value):
            if has_credentials(text):
                raise ValueError(
                    "holds credentials, and a configuration is shown: leave them out of the address, and put them where"
                    " its client looks (MLFLOW_TRACKING_USERNAME and _PASSWORD, AWS_*, a credential helper of Git)"
                )
            if "\0" in text:
                raise ValueError("holds a NUL character, which no path or variable can")
        return value


def _texts(value: Any) -> Iterator[str]:
    """All text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
