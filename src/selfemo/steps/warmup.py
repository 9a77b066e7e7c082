"""The supervised start of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfemo import processes
from selfemo.config import Config
from selfemo.context import Context, Published, code_version
from selfemo.data.corpora.table import spaces_in
from selfemo.data.label_file import SPACES, write_spaces
from selfemo.policies import Policy
from selfemo.registry.outbox import Outbox
from selfemo.steps.launch import (
    check_compiled_for,
    check_writable,
    checkpoints,
    forget_checkpoints,
    kept_checkpoints,
    launch,
    training_log,
)
from selfemo.steps.prepare import labelled


def warmup(config: Config, prepared: str) -> Published:
    """The base model to ``theta_0``: supervised on the warm-up dialogues.

    Without dialogues or epochs, and where ``policy.start`` names a policy in place of a warm-up, nothing is learnt and
    no process is started: the result stands for the base or that policy itself, if it is an artifact, and else for a
    copy of it, since neither a registry nor other machines can do with a name.
    """
    check_compiled_for(config)
    context = Context(config)
    check_writable(context)
    start = _start(context, prepared)
    base = context.policies.find(start or config.policy.base)
    inputs = {"prepared": prepared, "base": base.uri}
    if config.cluster.trainer != "trainjob":  # else what waits and what trains see other disks; images do not change
        inputs |= base.version
    if done := context.done("warmup", 0, inputs):
        return done
    data = context.store.fetch(prepared)
    gold = labelled(data) if config.warmup.epochs and not start else []

    def work(out: Path, scratch: Path) -> dict[str, Any]:
        if not gold:
            return {"policy": _as_artifact(context, base, scratch / "base"), "dialogues": 0, "steps": 0}
        from selfemo.training.warmup import warm_up

        spaces = spaces_in(data)
        with Outbox(context.registry, 0) as outbox:
            resumed_from = checkpoints(config, scratch)
            kept = kept_checkpoints(context, context.uri("warmup", 0, inputs))
            steps = warm_up(base.directory, gold, spaces, config, resumed_from, out, training_log(outbox), kept)
            if processes.rank() == 0:
                write_spaces(out / SPACES, {**spaces, **base.taught, **spaces})
        return {"dialogues": len(gold), "steps": steps, "base": config.policy.base}

    # A step that only waits for a TrainJob has neither torch nor memory for a model: a copy is made by the job.
    if gold or (base.manifest is None and config.cluster.trainer == "trainjob"):
        launch(context, "warmup", 0, inputs, base, ["--prepared", prepared])
    published = context.step("warmup", 0, inputs, work)
    forget_checkpoints(context, published.uri)
    return published


def _start(context: Context, prepared: str) -> str:
    """URI of the policy that the run starts from in place of a warm-up, as the prepared data's record has it."""
    manifest = context.store.manifest(prepared)
    return "" if manifest is None else str(manifest.result.get("start", ""))


def _as_artifact(context: Context, base: Policy, place: Path) -> str:
    """URI of a policy's weights; those that are no artifact yet are published, once whatever the run.

    Args:
        context: Of the run.
        base: The policy.
        place: Directory to make.
    """
    if base.manifest is not None or processes.rank():
        return base.uri
    from selfemo.policy.weights import load_model, load_tokenizer

    load_model(base.directory).save_pretrained(place)
    load_tokenizer(base.directory).save_pretrained(place)
    if base.taught:
        write_spaces(place / SPACES, base.taught)
    meta = {"inputs": {"base": base.uri}, "code": code_version()}
    return context.store.publish_by_content(place, "bases", step="base", **meta)
