"""What a directory of weights holds, looked at before anything is loaded: what is damaged or missing is named.

People copy directories, break off downloads and clone without Git LFS. The libraries that read them fail late then,
each in its own words. Defined here; hub ids are left to transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfemo.errors import UserError
from selfemo.logs import printable

INDEX = "model.safetensors.index.json"
_LFS = b"version https://git-lfs"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_AGAIN = "copy or download it again"


def check_tokenizer(directory: Path) -> None:
    """Refuse a directory whose tokenizer is missing or is a Git LFS pointer.

    Raises:
        UserError: With the file and what to do.
    """
    _no_pointers(directory, ("*.json", "*.model", "*.txt", "*.jinja"))
    if not any((directory / name).is_file() for name in _TOKENIZERS):
        raise UserError(
            "the directory holds no tokenizer",
            where=str(directory),
            fix="copy tokenizer.json and tokenizer_config.json of the model that it was made from",
        )


def check_config(directory: Path) -> dict[str, Any]:
    """The configuration of a directory, as it stands there.

    Raises:
        UserError: If there is none, it is no JSON object, or of an architecture that would bring code of its own.
    """
    from transformers import __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    file = directory / "config.json"
    _no_pointers(directory, (file.name,))
    config = read_object(file)
    if (ends := directory / "generation_config.json").is_file():
        _no_pointers(directory, (ends.name,))
        read_object(ends)  # transformers passes over one that is damaged, and the tokens that end an answer go with it
    kind = config.get("model_type")
    if kind in CONFIG_MAPPING_NAMES:
        return config
    if config.get("auto_map"):
        raise UserError(
            f"the model type {printable(str(kind))!r} brings code of its own (auto_map), and none is run here",
            where=str(file),
            fix="use a model of an architecture that transformers has itself",
        )
    raise UserError(
        f"transformers {__version__} does not know the model type {printable(str(kind))!r}",
        where=str(file),
        fix="use a model that it knows, or install a newer transformers",
    )


def check_weights(directory: Path) -> None:
    """Refuse weights that are damaged, quantised, or not safetensors.

    Raises:
        UserError: With the file and what to do.
    """
    config = check_config(directory)
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "") if isinstance(quantised, dict) else ""
        raise UserError(
            f"the weights are quantised ({printable(str(method)) or 'by an unnamed method'}), and such weights can be"
            " neither trained nor merged with an adapter",
            where=str(directory / "config.json"),
            fix="use the weights that they were quantised from",
        )
    index = directory / INDEX
    if (directory / "model.safetensors").is_file():
        files = [directory / "model.safetensors"]
    elif index.is_file():
        files = [directory / name for name in _shards(index)]
    else:
        raise _no_safetensors(directory, "model.safetensors")
    for file in files:
        check_safetensors(file)


def check_safetensors(file: Path) -> list[str]:
    """The names of a file's tensors.

    Raises:
        UserError: If it is not there, a Git LFS pointer, cut off, or something else.
    """
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise UserError("the file is missing", where=str(file), fix=_AGAIN)
    _no_pointers(file.parent, (file.name,))
    try:
        with safe_open(file, framework="pt") as tensors:  # compares what the header promises with the file's size
            return list(tensors.keys())
    except (SafetensorError, ValueError) as error:
        raise UserError(f"cut off or damaged: {printable(str(error))}", where=str(file), fix=_AGAIN) from None


def check_adapter(directory: Path) -> list[str]:
    """The names of a LoRA adapter's tensors.

    Raises:
        UserError: If it is of another kind, damaged, or not safetensors.
    """
    file = directory / "adapter_config.json"
    _no_pointers(directory, (file.name,))
    kind = read_object(file).get("peft_type")
    if kind != "LORA":
        raise UserError(
            f"an adapter of kind {printable(str(kind))}, not LORA", where=str(file), fix="merge it into its base first"
        )
    if not (directory / "adapter_model.safetensors").is_file():
        raise _no_safetensors(directory, "adapter_model.safetensors")
    return check_safetensors(directory / "adapter_model.safetensors")


def read_object(file: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        UserError: If it is not there, or holds something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))  # as transformers reads it: no mark, no UTF-16
    except OSError as error:
        raise UserError(error.strerror or "cannot be read", where=str(file), fix=_AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"no JSON: {printable(str(error))}", where=str(file), fix=_AGAIN) from None
    if not isinstance(value, dict):
        raise UserError("no JSON object", where=str(file), fix=_AGAIN)
    return value


def _shards(index: Path) -> list[str]:
    """The files that an index names."""
    _no_pointers(index.parent, (index.name,))
    files = read_object(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise UserError("names no weights (weight_map)", where=str(index), fix=_AGAIN)
    names = sorted({str(name) for name in files.values()})
    if outside := [name for name in names if Path(name).name != name]:
        raise UserError(f"names a file elsewhere: {printable(outside[0])}", where=str(index), fix=_AGAIN)
    return names


def _no_safetensors(directory: Path, wanted: str) -> UserError:
    pickled = sorted(file.name for pattern in _PICKLED for file in directory.glob(pattern))
    if pickled:
        return UserError(
            f"holds {pickled[0]} and no {wanted}: pickled weights can run code, so they are not read",
            where=str(directory),
            fix="if you trust them, convert them: load them with transformers, and save them with save_pretrained",
        )
    return UserError(f"the directory holds no {wanted}", where=str(directory), fix=_AGAIN)


def _no_pointers(directory: Path, patterns: tuple[str, ...]) -> None:
    """Refuse files that Git left in the place of large ones."""
    for pattern in patterns:
        for file in sorted(directory.glob(pattern)):
            if not file.is_file():
                continue
            with file.open("rb") as data:
                if data.read(len(_LFS)) == _LFS:
                    raise UserError(
                        "a Git LFS pointer, not the file itself",
                        where=str(file),
                        fix="run `git lfs pull` in the repository, or download the file",
                    )
