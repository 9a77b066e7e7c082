"""Seeds from what they stand for: the same draw whatever else is drawn, in every process."""

from __future__ import annotations

import hashlib
import json


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything with a stable JSON form: the same parts give the same seed everywhere."""
    digest = hashlib.sha256(json.dumps(parts, default=str).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
