"""Whether a model gives on a tree of tokens what it gives on each sequence by itself; if not, it is refused by name.

Trees stand for sequences where a token looks at its own past through attention, and at nothing else. That is tried,
not looked up: a model of the same architecture, as small as it gets and with a window that a short prompt passes, is
run both ways, by the sampler's steps and by the pack that training learns from; then the weights themselves are.
Defined here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from selfemo.errors import UserError
from selfemo.logs import printable
from selfemo.policy.miniature import smallest
from selfemo.policy.trees.attention import enable
from selfemo.policy.trees.forest import Forest
from selfemo.policy.trees.packing import log_probs
from selfemo.policy.trees.tree import grow
from selfemo.policy.weights import read_config

log = logging.getLogger(__name__)

ROUNDING = 1e-3
"""Of the smallest model in float32, in units of the spread of its log-probabilities; what is right stays below 1e-4."""
NATS = 0.01
"""Of weights in float32: most that a log-probability may differ."""
SHARE = 0.2
"""Of weights in half precision, where single ones differ by rounding: share of the probability that lies elsewhere."""
SHORT_WINDOW = 64
"""A window up to this is passed with the weights themselves too."""
STEPS = 3
"""Tokens that are added one after another to the smallest model's sequences, as the sampler does."""
FIX = (
    "use Llama, Qwen2, Qwen2.5, Qwen3, Gemma 3, Mistral, Phi-3, Phi-4, OLMo 2, OLMo 3, SmolLM3 or Granite;"
    " docs/models.md lists what else is right, and `selfemo dry-run` tries a model of your own"
)

_STATELESS = frozenset({"full_attention", "sliding_attention", "attention", "dense", "sparse"})
"""Kinds of layers that see the past through attention alone."""


@dataclass(frozen=True)
class NumericalDifference:
    """Between a tree and separate sequences.

    Attributes:
        nats: The largest of any log-probability.
        share: Mean over positions of the total variation distance.
        spread: Standard deviation of the log-probabilities of the separate sequences.
    """

    nats: float
    share: float
    spread: float


def architecture(name: str) -> None:
    """Try the architecture of a model before its weights are loaded; once in a process.

    Args:
        name: Directory or hub id.

    Raises:
        UserError: If it cannot be computed on trees, or cannot be tried.
    """
    _architecture(name)


@cache
def _architecture(name: str) -> None:
    configured(read_config(name), name)


def configured(config: Any, where: str) -> None:
    """Try the architecture of a configuration.

    Args:
        config: Of a model.
        where: Its name, for messages.

    Raises:
        UserError: As for :func:`architecture`.
    """
    kind = _kind(config)
    if reason := _stateful(config):
        raise UserError(f"{kind} {reason}: it cannot be computed on a tree of tokens", where=where, fix=FIX)
    try:
        model = smallest(config)
    except Exception as error:  # any architecture's own code, given numbers that it was not made for
        raise UserError(
            f"{kind} cannot be tried: no small model of it can be made ({_line(error)})", where=where, fix=FIX
        ) from None
    found = _compared(model, kind, where)
    if not found.nats <= ROUNDING * max(1.0, found.spread):
        raise _differs(kind, found, where)


def weights(model: Any, where: str) -> None:
    """Try a model's own weights, in the precision and on the device that they have.

    Args:
        model: A causal language model, without gradients.
        where: Its name, for messages.

    Raises:
        UserError: If they do not give on a tree what they give on separate sequences.
    """
    started = time.perf_counter()
    kind = type(model).__name__
    found = _compared(model, kind, where, brief=True)
    if not found.nats < float("inf"):
        raise UserError(f"{kind} gives log-probabilities that are no numbers", where=where, fix="check the weights")
    exact = model.dtype == torch.float32
    if (found.nats > NATS) if exact else (found.share > SHARE):
        raise _differs(kind, found, where)
    log.info("tree attention of %s is a plain pass's, checked in %.0f ms", kind, 1e3 * (time.perf_counter() - started))


def difference(model: Any, *, brief: bool = False) -> NumericalDifference:
    """Run a short prompt with branches both ways: by the sampler's steps, and packed as training does.

    Args:
        model: A causal language model; tree attention is enabled on it.
        brief: Two branches and one step, without the pack and its gradients: for weights of a tried architecture.
    """
    config = model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None) or 0
    starts, ends = _sequences(config.vocab_size, window if window <= SHORT_WINDOW else 0)
    if brief:
        starts, ends = starts[:2], [end[:1] for end in ends[:2]]
    model.set_attn_implementation("eager")  # knows soft caps and sinks, which SDPA does not
    plain = []
    with torch.no_grad():
        for start, end in zip(starts, ends, strict=True):
            ids = torch.tensor([[*start, *end]], device=model.device)
            plain.append(model(input_ids=ids).logits[0, len(start) - 1 :].float().log_softmax(-1))
        enable(model)
        sampled = _sampled(model, starts, ends)
    one, other = torch.stack(sampled), torch.stack(plain)
    nats = (one - other).abs().max()
    if not brief:
        packed = log_probs(model, starts, ends).logprobs.detach()
        chosen = other[:, :-1].gather(2, torch.tensor(ends, device=other.device)[..., None])[..., 0]
        nats = torch.maximum(nats, (packed - chosen).abs().max())
        learnt = log_probs(model.train(), starts, ends).logprobs  # some have rules of their own for training
        torch.autograd.backward(learnt.sum())
    share = (one.exp() - other.exp()).abs().sum(-1).mean() / 2
    return NumericalDifference(float(nats), float(share), float(other.std()))


def _sequences(vocabulary: int, window: int) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts on two trunks, each longer than the window, and what follows them."""
    draw = np.random.default_rng(0)
    first, past = max(3, vocabulary // 4), max(4, vocabulary // 2)  # special tokens lie at the ends

    def tokens(count: int) -> list[int]:
        return [int(t) for t in draw.integers(first, past, count)]

    trunk, other = tokens(window + 8), tokens(window + 4)
    starts = [[*trunk, *tokens(3)], [*trunk, *tokens(5)], [*trunk[:-2], *tokens(4)], [*other, *tokens(1)]]
    return starts, [tokens(STEPS) for _ in starts]


def _sampled(model: Any, starts: Sequence[list[int]], ends: Sequence[list[int]]) -> list[torch.Tensor]:
    """For each sequence the log-probabilities ``(steps + 1, V)`` of a forest that grows."""
    steps, apart = len(ends[0]), starts[3:]  # what shares no trunk is a tree of its own
    trees = [grow(starts[:3]), *([grow(apart)] if apart else [])]
    paths = [path for tree in trees for path in tree.paths]
    tree_of = np.array([0] * len(starts[:3]) + [1] * len(apart))
    last = np.array([path[-1] + (len(trees[0].ids) if t else 0) for path, t in zip(paths, tree_of, strict=True)])
    keep, at = np.unique(last, return_inverse=True)
    forest = Forest(model, trees, steps * len(starts), keep)
    logits = [forest.logits[torch.from_numpy(at).to(forest.device)]]
    forest.watch(tree_of, paths)
    depth = np.array([len(path) for path in paths])
    for step in range(steps):
        ids = np.array([end[step] for end in ends])
        logits.append(forest.add(ids, depth + step, np.arange(len(paths))))
    return list(torch.stack(logits, dim=1).float().log_softmax(-1))


def _compared(model: Any, kind: str, where: str, *, brief: bool = False) -> NumericalDifference:
    """The difference; what the architecture's own code cannot do is refused."""
    training = model.training
    try:
        return difference(model.eval(), brief=brief)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # any architecture's own code, called in a way it may not know
        raise UserError(
            f"{kind} cannot be computed on a tree of tokens: {_line(error)}", where=where, fix=FIX
        ) from None
    finally:
        model.train(training)


def _differs(kind: str, found: NumericalDifference, where: str) -> UserError:
    return UserError(
        f"{kind} gives something else on a tree of tokens than in a plain pass:"
        f" log-probabilities differ by up to {found.nats:.2g} nats",
        where=where,
        fix=FIX,
    )


def _kind(config: Any) -> str:
    """The architecture's name."""
    named = getattr(config, "architectures", None)
    return str(named[0]) if named else type(config).__name__.removesuffix("Config")


def _stateful(config: Any) -> str:
    """Why an architecture cannot be computed on trees, where its configuration says so; else empty."""
    text = config.get_text_config(decoder=True)
    kinds = {str(kind) for kind in getattr(text, "layer_types", None) or ()}
    if other := sorted(kinds - _STATELESS):
        return f"has layers of kind {', '.join(other)}, which look at the past in other ways than attention"
    if getattr(config, "is_encoder_decoder", False):
        return "is an encoder with a decoder"
    return ""


def _line(error: Exception) -> str:
    """The first line of an error, or its kind."""
    if isinstance(error, UserError):
        return error.message
    kind = "" if isinstance(error, (ValueError, RuntimeError)) else f"{type(error).__name__}: "
    return kind + printable(str(error).strip().partition("\n")[0])[:200]
