"""The images that components run in, as one value that is passed to whoever compiles."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True)
class Images:
    """An image for each kind of step; the digest of a release takes the place of the tag when compiling.

    Attributes:
        pipeline: Runs light steps, and waits for TrainJobs.
        generation: Samples: self-play and evaluation.
        training: Trains: warm-up and SELF-GRPO, in a step's pod or in a TrainJob's.
    """

    pipeline: str = "selfemo/pipeline-python:0.1.0"
    generation: str = "selfemo/generation-python:0.1.0"
    training: str = "selfemo/training-python:0.1.0"

    @classmethod
    def from_environment(cls) -> Self:
        """As ``SELFEMO_IMAGE_PIPELINE``, ``_GENERATION`` and ``_TRAINING`` name them, the others as they are here."""
        variables = {kind.name: f"SELFEMO_IMAGE_{kind.name.upper()}" for kind in fields(cls)}
        return cls(**{kind: os.environ[name] for kind, name in variables.items() if os.environ.get(name)})


DEFAULT = Images()
"""What a component names in its decorator; compiled, a step runs in the image that ``pipelines.place`` gives it."""
