"""Faults on purpose. A process with threads of its own cannot be forked safely, so libraries start none here."""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
