"""Corpora to prepared data: the pool, the labelled few, the held-out dialogues."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.config.overrides import flat
from selfemo.context import FAILURE, Context, Published, code_version
from selfemo.data.corpora import Corpora, load_corpora
from selfemo.data.dialogue import Dialogue, head, read_jsonl, write_jsonl
from selfemo.data.divide import LEAST_DIALOGUES, Division, divide, gate_is_open
from selfemo.data.join import Joined, join
from selfemo.data.label_file import SPACES, LabelFile, write_spaces
from selfemo.errors import UserError
from selfemo.logs import printable
from selfemo.places import temporary
from selfemo.registry.versions import Unregistered
from selfemo.steps.feedback import feedback, read_feedback, write_corrections

log = logging.getLogger(__name__)

CORRECTED = "corrected.jsonl"
"""File of prepared data: corrected conversations that are held out, where a run reads what came back."""
SHOWN = 10
"""Corrections that are left out, and named."""


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
    came = feedback(context)
    registry.tags(registry.parent, _of_schedule(config, came))
    registry.versions.ensure()
    registry.params(registry.parent, flat(config.model_dump(mode="json")))

    least = least_dialogues(config)
    divided = divide_corpora(config, corpora)
    conversations, corrections = read_feedback(context.store.fetch(came.uri, came.manifest)) if came else ([], [])
    share, seed = config.feedback.held_out, config.division_seed
    joined = join(divided, corpora, conversations, corrections, spaces, share=share, seed=seed)
    for row, why in joined.unused[:SHOWN]:
        log.warning("a correction of %s, turn %d, is left out: %s", printable(row.dialogue), row.turn, printable(why))
    start = config.policy.start

    def work(out: Path, _: Path) -> dict[str, Any]:
        write_spaces(out / SPACES, spaces)
        write_jsonl(out / "training.jsonl", joined.training)
        write_jsonl(out / "held_out.jsonl", divided.held_out)
        (out / "warmup.json").write_text(json.dumps(joined.warmup, indent=1))
        if came:
            write_jsonl(out / CORRECTED, joined.held_out)
            write_corrections(out / "corrections.jsonl", joined.used)
        (out / "quarantine.jsonl").write_text("".join(json.dumps(q) + "\n" for q in corpora.quarantine))
        return {
            "training_dialogues": len(joined.training),
            "held_out_dialogues": len(divided.held_out),
            "selection": config.warmup.selection > 0,  # then they are labelled ones that the warm-up could have had
            "warmup_dialogues": len(joined.warmup),
            "leaked_utterances": corpora.leaked,
            "selection_copies": divided.copies,
            "quarantined_rows": len(corpora.quarantine),
            "start": (policy := _policy_of(context, start)),
            "settings": settings,
            **(_of_feedback(context, joined, came, policy, inputs, settings) if came else {}),
        }

    labels = [LabelFile.of(space).model_dump(mode="json") for space in spaces.values()]  # what all later steps go by
    settings = _settings(config)
    inputs = {"content": content, "labels": digest_of(labels), "least": least, "start": start}
    if came:
        inputs |= {"feedback": came.uri, "came": came.manifest.digest}
    done = context.step("prepare", 0, inputs, work)
    if done.result.get("idle"):
        log.info("%s", done.result["idle"])
    tags = {"selfemo.prepared": done.uri, "selfemo.decisions": "[]", "selfemo.code": code_version()}
    registry.tags(registry.parent, tags)
    registry.dataset(registry.parent, "prepared", done.manifest.digest, done.uri, "training")
    with temporary("settings") as directory:
        file = directory / "config.json"
        file.write_text(config.model_dump_json(indent=1))
        registry.artifacts(registry.parent, [file])
    return done


def _of_schedule(config: Config, came: Published | None) -> dict[str, str]:
    """Tags by which the next cycle finds what this one has read."""
    schedule = {"selfemo.schedule": config.cycle.schedule} if config.cycle else {}
    return schedule | ({"selfemo.feedback": came.uri} if came else {})


def _settings(config: Config) -> str:
    """Hash of the settings that all cycles of a schedule share."""
    data = config.model_dump(mode="json", exclude={"run", "seed", "cycle", "workdir"})
    return digest_of(json.dumps(data, sort_keys=True))


def _of_feedback(
    context: Context, joined: Joined, came: Published, start: str, inputs: Mapping[str, Any], settings: str
) -> dict[str, Any]:
    """What prepared data's record says of what came back."""
    read = came.result
    new = read["new_conversations"] + read["new_corrections"]
    before = context.store.manifest(read["earlier_prepared"]) if read["earlier_prepared"] else None
    same = before is not None and (
        before.result.get("settings") == settings
        and all(before.inputs.get(key) == inputs[key] for key in ("content", "labels", "least", "start"))
    )
    idle = (
        "nothing came since the last cycle, and corpora and settings are the same: the champion is scored, and there "
        "are no rounds, since a gate that is asked again and again about the same data says yes by chance"
    )
    return {
        "joined_conversations": joined.joined,
        "corrected_turns": len(joined.used),
        "judging_dialogues": len(joined.held_out),
        "unused_corrections": len(joined.unused),
        "feedback_copies": joined.leaked,
        **{key: read[key] for key in ("new_conversations", "new_corrections")},
        "idle": idle if start and same and not new else "",  # without a champion there is a warm-up to be done
    }


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
        seed=config.division_seed,
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
