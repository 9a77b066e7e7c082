"""The images that components run in; the digest of a release takes the place of the tag when compiling."""

from __future__ import annotations

import os

PIPELINE = os.environ.get("SELFEMO_IMAGE_PIPELINE", "selfemo/pipeline-python:0.1.0")
GENERATION = os.environ.get("SELFEMO_IMAGE_GENERATION", "selfemo/generation-python:0.1.0")
TRAINING = os.environ.get("SELFEMO_IMAGE_TRAINING", "selfemo/training-python:0.1.0")
