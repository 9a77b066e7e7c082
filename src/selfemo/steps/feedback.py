"""What came back from what is served, as a run takes it: read once, whatever comes in while the run goes on."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from selfemo.context import Context, Published
from selfemo.data.corrections import Correction, line_of, parsed, plain
from selfemo.data.dialogue import Dialogue, read_jsonl, write_jsonl
from selfemo.data.feedback import Feedback

log = logging.getLogger(__name__)

CONVERSATIONS, CORRECTIONS = "conversations.jsonl", "corrections.jsonl"


def feedback(context: Context) -> Published | None:
    """Conversations and corrections that are there now, as an artifact; None if the configuration names no place.

    Its address is made of the run's name and its settings, not of what is there: the same run again reads the same. Of
    conversations nobody has corrected the newest are taken, since the next champion serves what is like them.

    Its result counts what is new since the last cycle of the schedule that ended well.

    Raises:
        UserError: If the place cannot be read, or holds something else.
    """
    config = context.config
    if config.feedback.path is None:
        return None
    place = Feedback.at(config.feedback.path, config.store.endpoint, context.store.backend("s3://"))
    spaces = config.spaces()

    def work(out: Path, _: Path) -> dict[str, Any]:
        corrections = place.corrections()
        about = {row.dialogue for row in corrections}
        taken: list[Dialogue] = []
        foreign: Counter[str] = Counter()
        free = config.feedback.conversations
        for dialogue in place.conversations():
            if dialogue.corpus not in spaces:
                foreign[dialogue.corpus] += 1
            elif dialogue.id in about or free > 0:
                free -= dialogue.id not in about
                taken.append(dialogue)
        if foreign:
            log.warning("conversations under labels that this run does not know are left out: %s", dict(foreign))
        write_jsonl(out / CONVERSATIONS, taken)
        write_corrections(out / CORRECTIONS, corrections)
        last = context.registry.earlier(config.cycle.schedule) if config.cycle else None
        told = {} if last is None else last.data.tags
        before = told.get("selfemo.feedback", "")
        said, known = _known(context, before)
        return {
            "conversations": len(taken),
            "corrections": len(corrections),
            "new_conversations": sum(d.id not in said for d in taken),
            "new_corrections": sum((row.dialogue, row.turn, row.labels) not in known for row in corrections),
            "left_out": sum(foreign.values()),
            "earlier": before,
            "earlier_prepared": told.get("selfemo.prepared", "") if before else "",
        }

    return context.step("feedback", 0, {"place": place.uri}, work)


def holders(context: Context, dialogues: set[str]) -> list[str]:
    """Names of the runs whose data hold a copy of some conversations.

    Args:
        context: Its registry knows the runs.
        dialogues: Their ids.
    """
    registry = context.registry
    runs = registry.client.search_runs([registry.experiment], "tags.`selfemo.feedback` LIKE '%'")
    found = set()
    for run in runs:
        uri = run.data.tags["selfemo.feedback"]
        if (manifest := context.store.manifest(uri)) is not None:
            conversations, corrections = read_feedback(context.store.fetch(uri, manifest))
            if dialogues & ({d.id for d in conversations} | {row.dialogue for row in corrections}):
                found.add(str(run.data.tags["selfemo.run"]))
    return sorted(found)


def read_feedback(directory: Path) -> tuple[list[Dialogue], list[Correction]]:
    """Conversations and corrections of what :func:`feedback` published."""
    return list(read_jsonl(directory / CONVERSATIONS)), read_corrections(directory / CORRECTIONS)


def write_corrections(path: Path, rows: list[Correction]) -> None:
    """Write corrections one a line."""
    path.write_bytes(b"".join(line_of(plain(row)) for row in rows))


def read_corrections(path: Path) -> list[Correction]:
    """The inverse of :func:`write_corrections`."""
    lines = path.read_bytes().splitlines()
    return [parsed(line, f"{path}:{number}", Correction) for number, line in enumerate(lines, 1)]


def _known(context: Context, before: str) -> tuple[set[str], set[tuple[str, int, tuple[str, ...]]]]:
    """Conversations and corrections that an earlier cycle had; none where its record is gone."""
    if not before or context.store.manifest(before) is None:
        return set(), set()
    conversations, corrections = read_feedback(context.store.fetch(before))
    return {d.id for d in conversations}, {(row.dialogue, row.turn, row.labels) for row in corrections}
