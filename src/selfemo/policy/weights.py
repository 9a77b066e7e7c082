"""Weights and tokenizer from a directory: safetensors only, and no code that came with them is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from selfemo.errors import UserError
from selfemo.policy import adapters

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(directory: str) -> PreTrainedTokenizerBase:
    """The tokenizer stored with the weights; code that comes with it is never run.

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
    return tokenizer


def read_config(directory: str) -> Any:
    """The configuration stored with the weights, or an adapter's base's.

    Raises:
        UserError: If there is none, or of an architecture that transformers does not know.
    """
    from transformers import AutoConfig

    if adapters.is_adapter(directory):
        return read_config(adapters.base_directory(directory))
    with _readable(directory):
        return AutoConfig.from_pretrained(directory, trust_remote_code=False)


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
        return adapted if trainable_adapter else adapted.merge_and_unload().to(dtype)
    with _readable(directory):
        return AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, trust_remote_code=False, use_safetensors=True
        )


@contextmanager
def _readable(directory: str) -> Iterator[None]:
    """A hub that cannot be reached, an id that is not there, a missing file: all come as OSError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            str(error).strip().partition("\n")[0] or type(error).__name__,
            where=directory,
            fix="check the name; offline, use a directory with config.json, a tokenizer and model.safetensors",
        ) from None
