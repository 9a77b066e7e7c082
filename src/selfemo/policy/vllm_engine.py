"""The vLLM engine, for GPUs: its prefix cache plays the part of the shared trunk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from selfemo.errors import UserError
from selfemo.policy.engine import Completion, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class VllmEngine:
    """Samples with vLLM; same contract as :class:`selfemo.policy.sampler.TransformersEngine`.

    Args:
        directory: Weights.
        tokenizer: Their tokenizer.
        bf16: bfloat16 instead of float32.

    Raises:
        UserError: If vLLM is not installed.
    """

    def __init__(self, directory: str, tokenizer: PreTrainedTokenizerBase, *, bf16: bool) -> None:
        import torch

        on_cpu = not torch.cuda.is_available()
        if on_cpu:  # small, in this process, and beside whatever else the machine does; vLLM reads these on import
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        try:
            from vllm import LLM
        except ModuleNotFoundError:
            raise UserError(
                "vLLM is not installed", where="policy.engine",
                fix="pip install 'selfemo[vllm]' on a GPU machine, or use engine: transformers",
            ) from None  # fmt: skip
        self.tokenizer = tokenizer
        self._llm = LLM(
            model=directory,
            dtype="bfloat16" if bf16 else "float32",
            enable_prefix_caching=True,
            enforce_eager=on_cpu,  # compiling costs a minute there and gains little
            trust_remote_code=False,
            load_format="safetensors",
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
        outputs = self._llm.generate(inputs, params, use_tqdm=False)
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
