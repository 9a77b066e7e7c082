"""The label spaces that are shipped, by corpus."""

from __future__ import annotations

from selfemo.data.corpora.table import shipped_spaces

SPACES = shipped_spaces()
MELD = SPACES["meld"]
