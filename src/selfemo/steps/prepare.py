"""Corpora to prepared data: the pool, the labelled few, the held-out dialogues."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.config.overrides import flat
from selfemo.context import FAILURE, Context, Published, code_version
from selfemo.data.corpora import Corpora, load_corpora
from selfemo.data.dialogue import Dialogue, head, read_jsonl, write_jsonl
from selfemo.data.divide import LEAST_DIALOGUES, Division, divide, gate_is_open
from selfemo.data.label_file import SPACES, LabelFile, write_spaces
from selfemo.errors import UserError
from selfemo.registry.versions import Unregistered

log = logging.getLogger(__name__)


def prepare(config: Config) -> Published:
    """Corpora to dialogues: training pool, warm-up sample and held-out set, without leakage between them."""
    config.check_dealt_out("train")  # before hours of self-play
    context = Context(config)
    spaces = config.spaces()
    corpora = corpora_of(config)
    content = digest_of([d.model_dump(mode="json") for d in (*corpora.training, *corpora.held_out)])
    registry = context.registry
    registry.reopen(registry.parent)
    registry.tags(registry.parent, {FAILURE: "", "selfemo.error": ""})  # of an earlier attempt
    registry.versions.ensure()
    registry.params(registry.parent, flat(config.model_dump(mode="json")))

    least = least_dialogues(config)
    divided = divide_corpora(config, corpora)
    start = config.policy.start

    def work(out: Path, _: Path) -> dict[str, Any]:
        write_spaces(out / SPACES, spaces)
        write_jsonl(out / "training.jsonl", divided.training)
        write_jsonl(out / "held_out.jsonl", divided.held_out)
        (out / "warmup.json").write_text(json.dumps(divided.warmup, indent=1))
        (out / "quarantine.jsonl").write_text("".join(json.dumps(q) + "\n" for q in corpora.quarantine))
        return {
            "training_dialogues": len(divided.training),
            "held_out_dialogues": len(divided.held_out),
            "selection": config.warmup.selection > 0,  # then they are labelled ones that the warm-up could have had
            "warmup_dialogues": len(divided.warmup),
            "leaked_utterances": corpora.leaked,
            "selection_copies": divided.copies,
            "quarantined_rows": len(corpora.quarantine),
            "start": _policy_of(context, start),
        }

    labels = [LabelFile.of(space).model_dump(mode="json") for space in spaces.values()]  # what all later steps go by
    inputs = {"content": content, "labels": digest_of(labels), "least": least, "start": start}
    done = context.step("prepare", 0, inputs, work)
    tags = {"selfemo.prepared": done.uri, "selfemo.decisions": "[]", "selfemo.code": code_version()}
    registry.tags(registry.parent, tags)
    registry.dataset(registry.parent, "prepared", done.manifest.digest, done.uri, "training")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.json"
        file.write_text(config.model_dump_json(indent=1))
        registry.artifacts(registry.parent, [file])
    return done


def digest_of(data: Any) -> str:
    """Hash of plain data."""
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


def _policy_of(context: Context, start: str) -> str:
    """URI of the policy that the run starts from, as it is now; empty for a warm-up.

    Kept in the prepared data's record: the champion may change while the run goes on, and what is run again must start
    from the same one.
    """
    if not start:
        return ""
    try:
        return context.policies.find(start).uri
    except Unregistered as missing:
        if "@" not in start:
            raise
        log.info("%s: round 0 warms the base up (%s)", start, missing.message)
        return ""


def corpora_of(config: Config) -> Corpora:
    """The dialogues that a configuration names.

    Raises:
        UserError: If a corpus cannot be read or lacks a split that the run needs.
    """
    return load_corpora(config.corpora, config.spaces(), config.evaluation.split, config.store.endpoint)


def least_dialogues(config: Config) -> int:
    """Of each corpus, for what decides on them: a gate that is open, and a run without rounds, decide nothing.

    Part of what prepared data depends on, so that a gate that is opened or closed divides anew.
    """
    return 1 if gate_is_open(config.gate.min_gain) or not config.loop.rounds else LEAST_DIALOGUES


def divide_corpora(config: Config, corpora: Corpora) -> Division:
    """Who is learnt from and who is scored.

    Raises:
        UserError: If there are too few dialogues to decide on, or none to learn from.
    """
    least = least_dialogues(config)
    warmup = config.warmup
    divided = divide(
        corpora.training,
        corpora.held_out,
        labelled=warmup.dialogues,
        selection=warmup.selection,
        least=least,
        seed=config.seed,
    )
    counts = Counter(d.corpus for d in head(divided.held_out, config.evaluation.dialogues))
    for corpus in config.corpora:
        if counts[corpus.name] < least:
            raise UserError(
                f"{counts[corpus.name]} dialogues of {corpus.name} are held out; the gate needs {least} to decide on",
                where="evaluation.dialogues" if config.evaluation.dialogues else "corpora",
                fix="hold out more: with few dialogues hardly any gain can be told from chance (docs/method.md)",
            )
    return divided


def labelled(data: Path) -> list[Dialogue]:
    """The dialogues of prepared data that the warm-up learns from."""
    chosen = set(json.loads((data / "warmup.json").read_text()))
    return [d for d in read_jsonl(data / "training.jsonl") if d.id in chosen]
