"""What every section of the configuration is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values are final."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
