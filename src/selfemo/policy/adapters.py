"""LoRA adapters as policies: a directory in PEFT's form, whose configuration names the policy it stands on.

An artifact names its base by URI. To load it, a view of it is made on this machine that names the base by
directory, which is what PEFT and vLLM read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfemo.errors import UserError
from selfemo.policy import content
from selfemo.policy.cached import once

_CONFIG, _URI, _WEIGHTS = "adapter_config.json", "base_uri.txt", "adapter_model.safetensors"
_BASE = "base_model_name_or_path"


def is_adapter(directory: str | Path) -> bool:
    """Whether a directory holds an adapter rather than whole weights."""
    return (Path(directory) / _CONFIG).is_file()


def settings(directory: str | Path) -> dict[str, Any]:
    """The adapter's configuration; of a view, with the base's directory under ``base_model_name_or_path``.

    Raises:
        UserError: If it is not one that names its base.
    """
    file = Path(directory) / _CONFIG
    try:
        read: dict[str, Any] = json.loads(file.read_text())
        named = isinstance(read[_BASE], str)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        named = False
    if not named:
        raise UserError(f"names no {_BASE}", where=str(file), fix="save the adapter with PEFT")
    return read


def view(directory: Path, fetch: Callable[[str], str], cache: Path) -> str:
    """Make an adapter loadable here.

    Args:
        directory: Holds the adapter; it is not changed.
        fetch: Copies weights, named by URI, to a directory of this machine.
        cache: Directory that views are kept in.
    """
    if not (directory / _WEIGHTS).is_file():  # PEFT would go on to unpickle adapter_model.bin
        fix = "save the adapter with PEFT's save_pretrained(..., safe_serialization=True)"
        raise UserError(f"holds no {_WEIGHTS}, the one form that is loaded", where=str(directory), fix=fix)
    read = settings(directory)
    uri = read[_BASE]
    base = fetch(uri)
    key = hashlib.sha256(f"{directory.resolve()} {content.digest(directory, cache)} {base}".encode()).hexdigest()[:16]
    target = cache / f"adapter-{key}"

    def make(place: Path) -> None:
        for file in directory.iterdir():
            if file.name != _CONFIG:
                (place / file.name).symlink_to(file.resolve())
        (place / _CONFIG).write_text(json.dumps(read | {_BASE: base}))
        (place / _URI).write_text(uri)

    return str(once(target, make))


def stands_on_itself(place: str) -> UserError:
    """What is said of an adapter whose bases lead back to it.

    Args:
        place: The adapter's directory.
    """
    fix = "name its base in adapter_config.json, and save it anew"
    return UserError("the adapter stands on itself", where=place, fix=fix)


def base_name(directory: str | Path) -> str:
    """The name of the policy that an adapter stands on, as its configuration has it."""
    return str(settings(directory)[_BASE])


def base_directory(directory: str) -> str:
    """Of a view, the weights that the adapter stands on."""
    return str(settings(directory)[_BASE])


def base_uri(directory: str) -> str:
    """Of a view, the name of the weights that the adapter stands on."""
    return (Path(directory) / _URI).read_text()


def publish(model: Any, directory: Path, uri: str) -> None:
    """Write a PEFT model's adapter alone.

    Args:
        model: With one trained adapter, PEFT's ``default``.
        directory: For it.
        uri: The policy it stands on.
    """
    model.save_pretrained(directory, selected_adapters=["default"], safe_serialization=True)
    file = directory / _CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | {_BASE: uri}, indent=1, sort_keys=True))
