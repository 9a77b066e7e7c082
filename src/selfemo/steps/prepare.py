"""Corpora to prepared data: the pool, the labelled few, the held-out dialogues."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.config.overrides import flat
from selfemo.context import Context, Published, code_version
from selfemo.data.corpora import Corpora, load_corpora
from selfemo.data.dialogue import Dialogue, read_jsonl, write_jsonl
from selfemo.data.seeds import seed_of
from selfemo.errors import UserError


def prepare(config: Config) -> Published:
    """Corpora to dialogues: training pool, warm-up sample and held-out set, without leakage between them."""
    context = Context(config)
    corpora = corpora_of(config)
    rows = json.dumps([d.model_dump(mode="json") for d in (*corpora.training, *corpora.held_out)])
    content = hashlib.sha256(rows.encode()).hexdigest()
    registry = context.registry
    registry.reopen(registry.parent)
    registry.params(registry.parent, flat(config.model_dump(mode="json")))

    def work(out: Path, _: Path) -> dict[str, Any]:
        gold = [d for d in corpora.training if any(u.gold for u in d.turns)]
        labelled = sorted(gold, key=lambda d: seed_of(config.seed, "warm-up", d.id))[: config.warmup.dialogues]
        selection, warm = labelled[: config.warmup.selection], labelled[config.warmup.selection :]
        if selection and not warm:
            raise UserError(
                f"the corpora have {len(labelled)} labelled dialogues, and all are kept for selection",
                where="warmup.selection", fix="lower it",
            )  # fmt: skip
        apart = {d.id for d in selection}
        training = [d for d in corpora.training if d.id not in apart]
        held_out = sorted(selection, key=lambda d: d.id) or corpora.held_out
        write_jsonl(out / "training.jsonl", training)
        write_jsonl(out / "held_out.jsonl", held_out)
        (out / "warmup.json").write_text(json.dumps(sorted(d.id for d in warm), indent=1))
        (out / "quarantine.jsonl").write_text("".join(json.dumps(q) + "\n" for q in corpora.quarantine))
        return {
            "training_dialogues": len(training),
            "held_out_dialogues": len(held_out),
            "warmup_dialogues": len(warm),
            "leaked_utterances": corpora.leaked,
            "quarantined_rows": len(corpora.quarantine),
        }

    done = context.step("prepare", 0, {"content": content}, work)
    tags = {"selfemo.prepared": done.uri, "selfemo.decisions": "[]", "selfemo.code": code_version()}
    registry.tags(registry.parent, tags)
    registry.dataset(registry.parent, "prepared", done.manifest.digest, done.uri, "training")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.json"
        file.write_text(config.model_dump_json(indent=1))
        registry.artifacts(registry.parent, [file])
    return done


def corpora_of(config: Config) -> Corpora:
    """The dialogues that a configuration names.

    Raises:
        UserError: If a corpus cannot be read or lacks a split that the run needs.
    """
    return load_corpora(config.corpora, config.evaluation.split, config.store.endpoint)


def labelled(data: Path) -> list[Dialogue]:
    """The dialogues of prepared data that the warm-up learns from."""
    chosen = set(json.loads((data / "warmup.json").read_text()))
    return [d for d in read_jsonl(data / "training.jsonl") if d.id in chosen]
