"""SELF-EMO: a data flywheel for emotion in conversation (arXiv 2604.18003)."""

__version__ = "0.1.0"
