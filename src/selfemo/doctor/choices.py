"""What a configuration makes of this machine, by the very functions that steps decide with (``policy.compute``)."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.policy import compute, names, packaged


def choices(context: Context) -> dict[str, Any]:
    """What steps on this machine will choose.

    Args:
        context: Of the run; nothing is started, and no weights are read.

    Returns:
        ``base``, ``engine``, ``processes``, ``strategy``; where torch is installed ``device``, ``precision``,
        ``threads``, ``training_pass_tokens``, ``sampling_tokens`` (of one forest), ``scoring_pass_tokens`` (both null
        where vLLM decides), ``attention`` and ``linear``; else ``undecided``, which says why.
    """
    config = context.config
    found: dict[str, Any] = {
        "base": config.policy.base,
        "engine": config.policy.engine,
        "processes": config.launch.processes,
        "strategy": config.launch.strategy,
    }
    if find_spec("torch") is None:
        return found | {"undecided": "precision, threads and batch sizes depend on torch, which is not installed"}
    how = compute.choose(config.policy)
    pack = compute.pack_tokens(config, how.device)
    ours = config.policy.engine == "transformers"
    return found | {
        "device": how.gpu or how.device,
        "precision": "bfloat16" if how.bfloat16 else "float32",
        "threads": how.threads,
        "training_pass_tokens": pack,
        "sampling_tokens": _forest(context, how) if ours else None,
        "scoring_pass_tokens": compute.SCORE_TOKENS if ours else None,
        "attention": _attention(how, pack),
        "linear": _linear(how),
    }


def _forest(context: Context, how: compute.Compute) -> int:
    """Tokens that a forest holds: the most there may be, while the base is not here and its shape not known."""
    try:
        token = compute.token_bytes(_shape(context), 2 if how.bfloat16 else 4)
    except (OSError, ValueError, AttributeError, TypeError, ZeroDivisionError, UserError):
        return compute.CACHE_TOKENS
    return compute.tokens_held(compute.CACHE_TOKENS, compute.CACHE_SHARE, compute.free_memory(how.device), token)


def _shape(context: Context) -> SimpleNamespace:
    """The base's configuration, as far as it lies on this machine already."""
    values = json.loads((_place(context) / "config.json").read_text(encoding="utf-8"))
    return SimpleNamespace(**values.get("text_config", values))


def _place(context: Context) -> Path:
    base = context.config.policy.base
    if names.kind(base) is names.Kind.PACKAGE:
        package = names.package(base)
        packaged.installed(package, base)
        return packaged.converted(package, context.policies.cache)
    return names.directory(base)


def _attention(how: compute.Compute, pack: int) -> str:
    if compute.flexible(how.device, half=how.bfloat16, width=compute.FLEX_WIDTH, tokens=pack):
        return f"FlexAttention for packs of {compute.FLEX_TOKENS:,} tokens and more, else SDPA"
    return "SDPA"


def _linear(how: compute.Compute) -> str:
    from selfemo.policy import onednn

    faster = how.device == "cpu" and not how.bfloat16 and onednn.is_faster()
    return "oneDNN" if faster else "torch"
