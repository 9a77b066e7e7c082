"""Artifacts by URI, the two places they lie in, and a lock among machines."""
