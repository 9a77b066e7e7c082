"""The label spaces that a policy was taught, which lie beside its weights. Defined here."""

from __future__ import annotations

from pathlib import Path

from selfemo.data.label_file import spaces_at
from selfemo.data.labels import LabelSpace
from selfemo.policy import adapters


def taught_by(directory: str) -> dict[str, LabelSpace]:
    """Label spaces by corpus, the gate corpus first; none of weights from elsewhere. An adapter without has its base's.

    Args:
        directory: Of weights; a hub id is none.
    """
    if not Path(directory).is_dir():
        return {}
    found = spaces_at(Path(directory))
    if not found and adapters.is_adapter(directory):
        found = spaces_at(Path(adapters.base_directory(directory)))
    return found
