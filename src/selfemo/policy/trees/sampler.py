"""Sampling and scoring on trees of tokens: what prompts share, and what answers share, is computed once.

The prompts of a call are grown into trees. Samples of a prompt start as one node and diverge only where they
draw different tokens, so a group of eight that agrees costs one. Given answers are branches of the same tree. Defined
here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from selfemo.config.platform import PolicySettings
from selfemo.policy import compute
from selfemo.policy.engine import Completion, Sampling
from selfemo.policy.trees import check
from selfemo.policy.trees.attention import enable
from selfemo.policy.trees.forest import Forest
from selfemo.policy.trees.lengths import check_length
from selfemo.policy.trees.packing import log_probs
from selfemo.policy.trees.tree import Ints, TokenIds, Tree, grow, neighbours_first, shared_prefix
from selfemo.policy.weights import load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from selfemo.policy.stepping import Stepper

log = logging.getLogger(__name__)

NUCLEUS = 1_024
"""Tokens of the vocabulary that are put in order; where they are not enough for a nucleus, all are."""
BLOCK = 256
"""Tokens of the vocabulary whose weights are summed before one of them is drawn."""


def start(directory: str, tokenizer: PreTrainedTokenizerBase, policy: PolicySettings) -> TransformersEngine:
    """The engine with weights of a directory, on the GPU if there is one.

    Args:
        directory: Whole weights, or an adapter's view.
        tokenizer: Their tokenizer.
        policy: Says in which precision.

    Raises:
        UserError: If the weights cannot be read, or not be computed on trees.
    """
    how = compute.compute(policy)
    check.architecture(directory)
    model = load_model(directory, bf16=how.bfloat16).to(how.device)
    check.weights(model, directory)
    return TransformersEngine(model, tokenizer)


class TransformersEngine:
    """Samples with transformers decoders that look at the past through attention alone (:mod:`.check`).

    Args:
        model: A causal language model, on any device, wrapped by PEFT or not.
        tokenizer: Its tokenizer.
        autocast: Run float32 weights under bfloat16 autocast, as training does.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, autocast: bool = False) -> None:
        self.model, self.tokenizer, self.autocast = model, tokenizer, autocast
        self.whole: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.body = self.whole.base_model
        enable(model)
        ends = model.generation_config.eos_token_id if model.generation_config else None
        listed = ends if isinstance(ends, list) else [ends]
        self.ends = np.array(sorted({int(e) for e in [*listed, tokenizer.eos_token_id] if e is not None}))

    def stepper(self, together: int) -> Stepper | None:
        """What works on requests as they come, with this engine's model; None if the model cannot be stepped.

        Args:
            together: Most requests that are worked on at the same time.
        """
        from selfemo.policy.trees.stepper import CannotStep, TreeStepper

        try:
            return TreeStepper(self, together)
        except CannotStep as why:
            log.info("requests are worked on in whole calls: %s", why)
            return None

    def sample(
        self,
        prompts: Sequence[TokenIds],
        seeds: Sequence[int],
        sampling: Sampling,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[list[Completion]]:
        """See :meth:`selfemo.policy.engine.Engine.sample`."""
        results: list[list[Completion]] = [[] for _ in prompts]
        room = [sampling.n * sampling.max_tokens] * len(prompts)
        with self._inference():
            for batch in batches(prompts, room, self._cache_tokens()):
                members = [i for tree in batch for i in tree]
                trees = [grow([prompts[i] for i in tree]) for tree in batch]
                groups = self._batch(trees, [seeds[i] for i in members], sampling)
                for index, group in zip(members, groups, strict=True):
                    results[index] = group
                progress(len(members))
        return results

    def log_likelihoods(
        self,
        prompts: Sequence[TokenIds],
        answers: Sequence[Sequence[TokenIds]],
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[tuple[float, ...]]:
        """See :meth:`selfemo.policy.engine.Engine.log_likelihoods`."""
        results: list[tuple[float, ...]] = [()] * len(prompts)
        room = [sum(len(answer) - 1 for answer in some) for some in answers]  # as nodes, without their last tokens
        with self._inference():
            for batch in batches(prompts, room, compute.SCORE_TOKENS):
                members = [i for tree in batch for i in tree]
                rows = [(prompts[i], answer) for i in members for answer in answers[i]]
                found = log_probs(self.model, [p for p, _ in rows], [a for _, a in rows]) if rows else None
                sums = iter(found.logprobs.double().sum(1).tolist() if found else ())
                for index in members:
                    results[index] = tuple(next(sums) for _ in answers[index])
                progress(len(members))
        return results

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Without gradients, and without what a model does in training alone."""
        cast = torch.autocast(self.model.device.type, torch.bfloat16) if self.autocast else nullcontext()
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), cast:
                yield
        finally:
            self.model.train(training)

    def _cache_tokens(self) -> int:
        """Nodes that a forest may hold here, as far as free memory is known."""
        device, body = self.model.device, self.body.config.get_text_config(decoder=True)
        node = compute.token_bytes(body, 2 if self.autocast else self.model.dtype.itemsize)
        free = compute.free_memory(device)
        return compute.tokens_held(compute.CACHE_TOKENS, compute.CACHE_SHARE, free, node)

    def _batch(self, trees: Sequence[Tree], seeds: Sequence[int], sampling: Sampling) -> list[list[Completion]]:
        """Sample for the prompts of some trees, tree by tree."""
        n, room = sampling.n, sampling.max_tokens
        starts = np.cumsum([0, *(len(t.ids) for t in trees)])
        last = np.concatenate([[path[-1] + s for path in t.paths] for t, s in zip(trees, starts, strict=False)])
        tree_of = np.repeat(np.arange(len(trees)), [len(t.paths) for t in trees])
        # Rows are samples, `at` is the live node that each stands on; equal prompts stand on one.
        live, at = np.unique(last, return_inverse=True)
        check_length(self.whole, max(len(p) for t in trees for p in t.paths) + room)
        forest = Forest(self.whole, trees, room * 2, live)
        first = np.unique(at, return_index=True)[1]
        paths = [path for t in trees for path in t.paths]
        forest.watch(tree_of[first], [paths[i] for i in first])
        at = np.repeat(at, n)
        depth = np.array([len(paths[i]) for i in first])
        logits = forest.logits
        uniform = np.concatenate([np.random.default_rng(seed).random((n, room)) for seed in seeds])
        rows = np.arange(len(at))
        drawn = np.zeros((len(at), room), dtype=np.int64)
        logprobs = np.zeros((len(at), room))
        lengths = np.full(len(at), room)
        for step in range(room):
            tokens, scores = self._draw(logits, at, uniform[rows, step], sampling)
            drawn[rows, step], logprobs[rows, step] = tokens, scores
            ended = np.isin(tokens, self.ends)
            lengths[rows[ended]] = step + 1
            rows, at, tokens = rows[~ended], at[~ended], tokens[~ended]
            if not len(rows) or step + 1 == room:
                break
            children, at = np.unique(np.stack([at, tokens]), axis=1, return_inverse=True)
            parent, ids = children
            depth = depth[parent]
            logits = forest.add(ids, depth, parent)
            depth = depth + 1
        completions = [self._completion(d[:k], s[:k]) for d, s, k in zip(drawn, logprobs, lengths, strict=True)]
        return [completions[i : i + n] for i in range(0, len(completions), n)]

    def _draw(self, logits: torch.Tensor, at: Ints, uniform: np.ndarray, sampling: Sampling) -> tuple[Ints, np.ndarray]:
        """A token and its log-probability for each row; rows on one node share its distribution."""
        logits = logits.float()
        order = np.argsort(at, kind="stable")
        counts = np.bincount(at, minlength=len(logits))
        place = np.empty(len(at), dtype=np.int64)
        place[order] = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
        laid = np.zeros((len(logits), int(counts.max())))
        laid[at, place] = uniform
        tokens = draw(logits, torch.from_numpy(laid).to(logits.device), sampling)
        scores = logits.gather(1, tokens) - logits.logsumexp(1, keepdim=True)
        return tokens.cpu().numpy()[at, place], scores.cpu().numpy()[at, place]

    def _completion(self, ids: Ints, logprobs: np.ndarray) -> Completion:
        listed = ids.tolist()
        return Completion(
            tuple(listed), str(self.tokenizer.decode(listed, skip_special_tokens=True)), tuple(logprobs.tolist())
        )


def draw(logits: torch.Tensor, uniform: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Tokens by inverse transform: a uniform number decides each draw, whatever else is in the batch.

    Args:
        logits: ``(N, V)``, float32.
        uniform: ``(N, M)`` in [0, 1): ``M`` draws from each distribution.
        sampling: Temperature and nucleus.

    Returns:
        ``(N, M)`` token ids.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1, keepdim=True).expand(uniform.shape)
    weights = logits.sub(logits.amax(-1, keepdim=True)).div_(sampling.temperature).exp_()
    if sampling.top_p < 1:
        weights = nucleus(weights, sampling.top_p)
    # First a block of the vocabulary, then a token in it: exact running sums over all of it take memory and time.
    weights = torch.nn.functional.pad(weights, (0, -weights.shape[1] % BLOCK)).view(len(weights), -1, BLOCK)
    blocks = weights.sum(-1, dtype=torch.float64).cumsum(-1)
    target = uniform * blocks[:, -1:]
    block = torch.searchsorted(blocks, target, right=True).clamp(max=blocks.shape[1] - 1)
    target = target - torch.where(block > 0, blocks.gather(1, (block - 1).clamp(min=0)), 0.0)
    within = weights[torch.arange(len(weights), device=weights.device)[:, None], block].cumsum(-1, dtype=torch.float64)
    last = (within < within[..., -1:]).sum(-1)  # rounding must not draw what weighs nothing
    token = torch.searchsorted(within, target[..., None], right=True).squeeze(-1)
    return block * BLOCK + torch.minimum(token, last)


def nucleus(weights: torch.Tensor, top_p: float) -> torch.Tensor:
    """Weights of the likeliest tokens that together have at least a share of the whole; the others weigh nothing.

    Args:
        weights: ``(N, V)``.
        top_p: The share.
    """
    enough = top_p * weights.sum(-1, keepdim=True, dtype=torch.float64)
    for most in (min(NUCLEUS, weights.shape[-1]), weights.shape[-1]):
        ordered, order = weights.topk(most)
        mass = ordered.cumsum(-1, dtype=torch.float64)
        if bool((mass[:, -1:] >= enough).all()):
            break
    kept = ordered.masked_fill(mass - ordered >= enough, 0.0)
    return torch.zeros_like(weights).scatter(-1, order, kept)


def batches(
    prompts: Sequence[TokenIds], room: Sequence[int], most: int = compute.CACHE_TOKENS
) -> list[list[list[int]]]:
    """Which prompts make one tree, and which trees are computed together.

    Args:
        prompts: Each non-empty.
        room: Nodes that the answers to each prompt may take.
        most: Nodes of a batch.

    Returns:
        Batches of trees of indices of prompts. Trees of a batch are of like size, and no batch comes to hold
        more than ``most`` nodes unless one prompt alone does.
    """
    trees: list[tuple[int, list[int]]] = []
    last: Ints = np.empty(0, np.int64)
    for index in neighbours_first(prompts):
        current = np.asarray(prompts[index], dtype=np.int64)
        shared = shared_prefix(last, current)
        new = len(current) - shared + room[index]
        if not trees or 2 * shared < min(len(last), len(current)) or trees[-1][0] + new > most:
            trees.append((len(current) + room[index], [index]))
        else:
            trees[-1] = (trees[-1][0] + new, [*trees[-1][1], index])
        last = current
    found: list[list[list[int]]] = []
    width = 0
    for size, tree in sorted(trees, key=lambda t: (-t[0], t[1])):
        if not found or width * (len(found[-1]) + 1) > most:
            found.append([])
            width = size
        found[-1].append(tree)
    return found
