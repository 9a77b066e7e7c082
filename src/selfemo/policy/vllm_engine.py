"""The vLLM engine, for GPUs: its prefix cache plays the part of the shared trunk."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from selfemo.config.platform import PolicySettings
from selfemo.errors import UserError
from selfemo.policy import adapters
from selfemo.policy.compute import compute
from selfemo.policy.engine import Completion, Engine, Sampling
from selfemo.policy.trees.tree import neighbours_first

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

AT_ONCE = 16_384
"""Requests that are handed over together: their prompts are in memory all at once."""

_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Sizes that vLLM makes room for."""


def start(directory: str, tokenizer: PreTrainedTokenizerBase, policy: PolicySettings) -> Engine:
    """One engine, or several copies behind one.

    Args:
        directory: Whole weights, or an adapter's view.
        tokenizer: Their tokenizer.
        policy: How.

    Raises:
        UserError: If vLLM is not installed, or GPUs are missing.
    """
    if policy.vllm.data_parallel == 1:
        return VllmEngine(directory, tokenizer, policy)
    return VllmCopies(directory, policy)


class VllmEngine:
    """Samples and scores with vLLM; same contract as :class:`selfemo.policy.trees.sampler.TransformersEngine`.

    Args:
        directory: Whole weights, or an adapter's view: the adapter is then served over its base.
        tokenizer: Their tokenizer.
        policy: How.

    Raises:
        UserError: If vLLM is not installed.
    """

    def __init__(self, directory: str, tokenizer: PreTrainedTokenizerBase, policy: PolicySettings) -> None:
        import torch

        on_cpu = not torch.cuda.is_available()
        if on_cpu:  # small, in this process, and next to whatever else the machine does; vLLM reads these on import
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        try:
            from vllm import LLM
            from vllm.lora.request import LoRARequest
        except ModuleNotFoundError:
            raise UserError(
                "vLLM is not installed",
                where="policy.engine",
                fix="selfemo doctor names the command that brings it; or use engine: transformers",
            ) from None
        self.tokenizer = tokenizer
        lora: dict[str, Any] = {}
        self._adapter = None
        if adapters.is_adapter(directory):
            rank = int(adapters.settings(directory)["r"])
            lora = {"enable_lora": True, "max_lora_rank": next((r for r in _LORA_RANKS if r >= rank), rank)}
            self._adapter = LoRARequest("policy", 1, directory)
        self._llm = LLM(
            model=adapters.base_directory(directory) if lora else directory,
            dtype="bfloat16" if compute(policy).bfloat16 else "float32",
            enable_prefix_caching=True,
            tensor_parallel_size=policy.vllm.tensor_parallel,
            gpu_memory_utilization=policy.vllm.memory,
            enforce_eager=on_cpu,  # compiling costs a minute there and gains little
            trust_remote_code=False,
            load_format="safetensors",
            **lora,
        )

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: Sampling,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[list[Completion]]:
        """See :meth:`selfemo.policy.engine.Engine.sample`."""
        from vllm import SamplingParams, TokensPrompt

        params = [
            SamplingParams(
                n=sampling.n,
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=seed % (1 << 31),
                logprobs=0,  # of the sampled token alone
            )
            for seed in seeds
        ]
        inputs = [TokensPrompt(prompt_token_ids=list(p)) for p in prompts]
        outputs = self._llm.generate(inputs, params, use_tqdm=False, lora_request=self._adapter)
        progress(len(prompts))
        return [
            [
                Completion(
                    tuple(c.token_ids),
                    self.tokenizer.decode(c.token_ids, skip_special_tokens=True),
                    tuple(found[token].logprob for token, found in zip(c.token_ids, c.logprobs, strict=True)),
                )
                for c in sorted(out.outputs, key=lambda c: c.index)
            ]
            for out in outputs
        ]

    def log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[Sequence[int]]],
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[tuple[float, ...]]:
        """See :meth:`selfemo.policy.engine.Engine.log_likelihoods`.

        Answers are asked for a token at a time, each beginning that some of them share once: the log-probabilities of
        prompts, which vLLM has as well, would be computed without the prefix cache.
        """
        from vllm import SamplingParams, TokensPrompt

        asked = [
            (number, start, sorted(after))
            for number, some in enumerate(answers)
            for start, after in _branches(some).items()
        ]
        known = {}
        for first in range(0, len(asked), AT_ONCE):
            some = asked[first : first + AT_ONCE]
            inputs = [TokensPrompt(prompt_token_ids=[*prompts[number], *start]) for number, start, _ in some]
            params = [SamplingParams(max_tokens=1, temperature=0, logprob_token_ids=after) for _, _, after in some]
            outputs = self._llm.generate(inputs, params, use_tqdm=False, lora_request=self._adapter)
            for (number, start, after), out in zip(some, outputs, strict=True):
                for token in after:
                    known[number, (*start, token)] = out.outputs[0].logprobs[0][token].logprob
        progress(len(prompts))
        return [
            tuple(sum(known[number, tuple(a[: i + 1])] for i in range(len(a))) for a in some)
            for number, some in enumerate(answers)
        ]


def _branches(answers: Sequence[Sequence[int]]) -> dict[tuple[int, ...], set[int]]:
    """Each beginning of some answers, and the tokens that come next in them."""
    found: dict[tuple[int, ...], set[int]] = {}
    for answer in answers:
        for i, token in enumerate(answer):
            found.setdefault(tuple(answer[:i]), set()).add(token)
    return found


class VllmCopies:
    """Copies of the engine, each in a process with GPUs of its own; prompts that share their start stay together.

    Args:
        directory: As for :class:`VllmEngine`.
        policy: ``vllm.data_parallel`` copies on ``vllm.tensor_parallel`` GPUs each.

    Raises:
        UserError: If there are fewer GPUs.
    """

    def __init__(self, directory: str, policy: PolicySettings) -> None:
        import torch

        copies, each, gpus = policy.vllm.data_parallel, policy.vllm.tensor_parallel, torch.cuda.device_count()
        if 0 < gpus < copies * each:
            raise UserError(
                f"{copies} copies on {each} GPUs each need {copies * each}; there are {gpus}",
                where="policy.vllm",
                fix="lower data_parallel or tensor_parallel",
            )
        context = multiprocessing.get_context("spawn")
        visible = [list(range(i * each, (i + 1) * each)) if gpus else None for i in range(copies)]
        self._copies = [
            ProcessPoolExecutor(1, context, _start_copy, (directory, policy.model_dump_json(), devices))
            for devices in visible
        ]

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: Sampling,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[list[Completion]]:
        """See :meth:`selfemo.policy.engine.Engine.sample`."""
        return self._each(_sample_copy, (prompts, seeds), (sampling,), progress)

    def log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[Sequence[int]]],
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[tuple[float, ...]]:
        """See :meth:`selfemo.policy.engine.Engine.log_likelihoods`."""
        return self._each(_likelihoods_copy, (prompts, answers), (), progress)

    def _each(
        self,
        work: Callable[..., list[T]],
        by_prompt: tuple[Sequence[Any], ...],
        common: tuple[Any, ...],
        progress: Callable[[int], None],
    ) -> list[T]:
        """What the copies answer, in the order of the prompts, which are the first of ``by_prompt``."""
        order = neighbours_first(by_prompt[0])
        size = -(-len(order) // len(self._copies)) or 1
        shares = [order[i : i + size] for i in range(0, len(order), size)]
        pending = [
            copy.submit(work, *([one[i] for i in share] for one in by_prompt), *common)
            for copy, share in zip(self._copies, shares, strict=False)
        ]
        results: dict[int, T] = {}
        for share, future in zip(shares, pending, strict=True):
            results.update(zip(share, future.result(), strict=True))
            progress(len(share))
        return [results[i] for i in range(len(order))]


_copy: VllmEngine


def _start_copy(directory: str, policy: str, devices: list[int] | None) -> None:
    """Runs in a copy's process, before anything there touches a GPU."""
    global _copy
    if devices is not None:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = given.split(",") if given else None
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[d] if names else str(d) for d in devices)
    from selfemo.policy.weights import load_tokenizer

    _copy = VllmEngine(directory, load_tokenizer(directory), PolicySettings.model_validate_json(policy))


def _sample_copy(prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling) -> list[list[Completion]]:
    return _copy.sample(prompts, seeds, sampling)


def _likelihoods_copy(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
) -> list[tuple[float, ...]]:
    return _copy.log_likelihoods(prompts, answers)
