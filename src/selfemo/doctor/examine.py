"""Look at everything once, and say what is missing."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfemo import hardware
from selfemo.context import Context
from selfemo.doctor import packages, servers
from selfemo.doctor.choices import choices
from selfemo.doctor.findings import Findings, Missing, ServerFinding
from selfemo.errors import UserError
from selfemo.policy import names


def examine(context: Context) -> Findings:
    """What this machine has, what will be chosen on it, and what is missing.

    Args:
        context: Of the run; none of its servers is started, and nothing is written.
    """
    extras = packages.extras()
    ours, no_program = servers.embedded(context)
    named, silent = servers.named(context)
    chosen = choices(context)
    missing = [*packages.missing(context.config, extras), *no_program, *silent, *_places(context)]
    missing += _inputs(context, whole=not any(m.needed for m in silent))
    missing += _gpu(context, chosen)
    if not extras:
        missing.append(Missing("selfemo itself, by pip", "what its extras are", "pip install '.[local]'", needed=False))
    services: tuple[ServerFinding, ...] = (*ours, *named)
    return Findings(_machine(context, chosen), packages.versions(), extras, services, chosen, tuple(missing))


def _machine(context: Context, chosen: Mapping[str, Any]) -> dict[str, Any]:
    temporary = Path(tempfile.gettempdir())
    return {
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "processor": hardware.processor(),
        "instructions": hardware.instructions(),
        "cores": hardware.cores(),
        "memory_free": hardware.memory(),
        "gpus": _gpus() if chosen.get("device", "cpu") != "cpu" else [],
        "workdir": {"place": str(context.workdir), "free": hardware.disk(context.workdir)},
        "temporary": {"place": str(temporary), "free": hardware.disk(temporary)},
    }


def _gpus() -> list[str]:
    """Names and sizes of the GPUs that torch can use."""
    from torch import cuda

    every = [cuda.get_device_properties(i) for i in range(cuda.device_count())]
    return [f"{one.name}, {one.total_memory / 2**30:.0f} GiB" for one in every]


def _places(context: Context) -> Iterator[Missing]:
    """Directories that will be written."""
    for place, setting in ((context.workdir, "workdir"), (Path(tempfile.gettempdir()), "TMPDIR")):
        if not servers.writable(place):
            yield Missing(f"{place} cannot be written", setting, f"set {setting} to a directory that you may write")


def _inputs(context: Context, *, whole: bool) -> Iterator[Missing]:
    """Models and corpora, looked up as a run does before it starts anything.

    Args:
        context: Of the run.
        whole: Also those that lie on servers; they answer.
    """
    from selfemo.local.inputs import check_models
    from selfemo.steps.launch import check_accelerator
    from selfemo.steps.prepare import corpora_of, divide_corpora

    config = context.config
    if config.cluster.host:  # they are looked up where the work is done
        return
    far = [c.path for c in config.corpora if c.path and c.path.startswith("s3://")]
    looks: list[Callable[[], object]] = []
    if whole or not names.is_remote(config.policy.base):
        looks.append(lambda: check_models(context))
    if whole or not far:
        looks.append(lambda: divide_corpora(config, corpora_of(config)))
    if find_spec("torch") is not None:
        looks.append(lambda: check_accelerator(config, apart=False))
    for look in looks:
        try:
            look()
        except UserError as error:
            yield Missing(error.message, error.where or "the configuration", error.fix or "see docs/guide.md")
        except ImportError as error:  # its extra is named already
            yield Missing(f"{error.name}, to look further", "the configuration", packages.pip("training"))


def _gpu(context: Context, chosen: Mapping[str, Any]) -> Iterator[Missing]:
    """A GPU that lies idle, since this torch cannot use it."""
    there = hardware.gpus()
    if there and chosen.get("device") == "cpu":
        what = f"a torch that can use the {there} GPU{'s' if there > 1 else ''} of this machine"
        fix = "nvidia-smi, for the driver; then a torch with CUDA: pip install --force-reinstall torch (docs/guide.md)"
        yield Missing(what, f"policy.engine: {context.config.policy.engine}", fix, needed=False)
