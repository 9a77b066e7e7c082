"""Weights and tokenizer from a directory: safetensors only, whole, and no code that came with them is run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfemo.errors import UserError
from selfemo.logs import printable
from selfemo.policy import adapters
from selfemo.policy.directory import check_adapter, check_config, check_tokenizer, check_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(directory: str) -> PreTrainedTokenizerBase:
    """The tokenizer stored with the weights, or with an adapter's base; code that comes with it is never run.

    Raises:
        UserError: If there is none, or it has no chat template or no end token.
    """
    from transformers import AutoTokenizer

    place = Path(directory)
    if adapters.is_adapter(place) and not (place / "tokenizer_config.json").is_file():
        return load_tokenizer(adapters.base_directory(directory))
    if place.is_dir():
        if (place / "config.json").is_file():
            read_config(directory)
        check_tokenizer(place)
    with _readable(directory, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    if tokenizer.chat_template is None:
        raise UserError("the tokenizer has no chat template", where=directory, fix="use an instruction-tuned model")
    if tokenizer.eos_token_id is None:
        raise UserError(
            "the tokenizer names no end token (eos_token)", where=directory, fix="set it in tokenizer_config.json"
        )
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer is a {type(tokenizer).__name__}, which does not tell where its tokens begin",
            where=directory,
            fix="use one with a tokenizer.json",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.clean_up_tokenization_spaces = False  # else decoding eats spaces before punctuation
    return tokenizer


def read_config(directory: str) -> Any:
    """The configuration stored with the weights, or with an adapter's base.

    Raises:
        UserError: If there is none, or it is of an architecture that transformers does not know, or that is no decoder.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if adapters.is_adapter(directory):
        return read_config(adapters.base_directory(directory))
    if Path(directory).is_dir():
        check_config(Path(directory))
    with _readable(directory, "the configuration"):
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            f"the model type {config.model_type!r} is no decoder that writes text",
            where=directory,
            fix="use a causal language model, such as Qwen/Qwen3-4B",
        )
    return config


def load_model(directory: str, *, bf16: bool = False, trainable_adapter: bool = False) -> PreTrainedModel:
    """The weights, from safetensors only.

    Args:
        directory: Whole weights, or an adapter's view.
        bf16: bfloat16 instead of float32.
        trainable_adapter: Keep an adapter apart, to train it; else it is merged into its base.

    Raises:
        UserError: If they are not there or in another form, or if a tensor is missing, left over, or of another shape.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # a second of loading needs no bar, and a log no thousand characters
    dtype = torch.bfloat16 if bf16 else torch.float32
    if adapters.is_adapter(directory):
        return _load_adapter(directory, dtype, trainable_adapter)
    if Path(directory).is_dir():
        check_weights(Path(directory))
    read_config(directory)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what it would warn of is an error here
    try:
        with _readable(directory, "the weights"):
            model, found = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=dtype,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    finally:
        transformers_logging.set_verbosity(verbosity)
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    _complete(
        directory,
        type(model).__name__,
        missing=set(found["missing_keys"]) - tied,
        unexpected=found["unexpected_keys"],
        shapes=[f"{name} {list(there)}, not {list(wanted)}" for name, there, wanted in found["mismatched_keys"]],
    )
    return model  # type: ignore[no-any-return]  # the library has no types


def _load_adapter(directory: str, dtype: Any, trainable: bool) -> PreTrainedModel:
    from peft import PeftModel, get_peft_model_state_dict

    names = set(check_adapter(Path(directory)))
    base = load_model(adapters.base_directory(directory))
    with _readable(directory, "the adapter"):
        adapted = PeftModel.from_pretrained(base, directory, is_trainable=trainable)
        wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    # A base's embeddings can be saved beside an adapter; they are the base's own.
    left = {name for name in names - wanted if "lora_" in name or "modules_to_save" in name}
    _complete(directory, f"the adapter of {type(base).__name__}", missing=wanted - names, unexpected=left, shapes=())
    return adapted if trainable else adapted.merge_and_unload().to(dtype)


def _complete(
    directory: str, kind: str, *, missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[str]
) -> None:
    """Refuse weights whose names or shapes are not the architecture's: what is missing would be random numbers."""
    problems = [
        f"{len(names)} {what}: {', '.join(printable(n) for n in names[:3])}{', ...' if len(names) > 3 else ''}"
        for what, names in (
            ("missing", sorted(missing)),
            ("unexpected", sorted(unexpected)),
            ("of another shape", sorted(shapes)),
        )
        if names
    ]
    if problems:
        raise UserError(
            f"the tensors are not those of {kind}; {'; '.join(problems)}",
            where=directory,
            fix="save the model again with save_pretrained, beside the config.json that belongs to it",
        )


@contextmanager
def _readable(directory: str, what: str) -> Iterator[None]:
    """A hub that cannot be reached, a missing library, a damaged file: each library has its own kinds of errors."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of transformers, tokenizers, peft, safetensors, jinja2, ...
        if type(error).__name__ == "OutOfMemoryError":
            raise
        kind = "" if isinstance(error, (OSError, ValueError, ImportError)) else f"{type(error).__name__}: "
        raise UserError(
            f"{what} cannot be read: {kind}{_first_line(str(error)) or type(error).__name__}",
            where=directory,
            fix="check the name; offline, use a directory with config.json, a tokenizer and model.safetensors",
        ) from None


def _first_line(text: str) -> str:
    """The first line of a message; where that announces what follows, the next one too."""
    rows = [row.strip() for row in text.strip().split("\n") if row.strip()]
    return printable(" ".join(rows[:2] if rows and rows[0].endswith(":") else rows[:1]))[:500]
