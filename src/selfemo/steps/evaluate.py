"""What a policy answers on held-out dialogues, one shard of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.config.anchors import JUDGES
from selfemo.context import Context, Published
from selfemo.data.corpora.table import spaces_in
from selfemo.data.dialogue import Dialogue, head, read_jsonl
from selfemo.data.labels import Spaces
from selfemo.data.records import write_records
from selfemo.method.evaluation import CORRECTED as CORRECTED_PREDICTIONS
from selfemo.method.evaluation import PREDICTIONS
from selfemo.policy import names
from selfemo.progress import meter
from selfemo.steps.prepare import CORRECTED
from selfemo.steps.shards import Shard, shard_of
from selfemo.store.artifacts import Store

REPLIES = "replies.jsonl.gz"


def evaluate(config: Config, policy: str, prepared: str, round: int, shard: int) -> Published:
    """What a policy answers on one shard of the held-out dialogues; the whole's scores, where they are known."""
    return evaluate_shard(Context(config), policy, prepared, round, shard)


def evaluate_shard(context: Context, policy: str, prepared: str, round: int, shard: int) -> Published:
    """The same within a step that has a context already."""
    config = context.config
    if known := scored_before(context, policy, prepared, round):
        return known
    found = context.policies.find(policy)
    policy = found.uri
    own = Shard(shard, config.launch.shards)

    def work(out: Path) -> dict[str, Any]:
        from selfemo.method.evaluation import predict

        data = context.store.fetch(prepared)
        held_out = head(list(read_jsonl(data / "held_out.jsonl")), config.evaluation.dialogues)
        answer(context, policy, held_out, list(read_jsonl(data / "training.jsonl")), spaces_in(data), out, own)
        if (data / CORRECTED).is_file():
            corrected = own.of(list(read_jsonl(data / CORRECTED)))
            rows = predict(context.policies.find(policy).player(), corrected, spaces_in(data)) if corrected else []
            write_records(out / CORRECTED_PREDICTIONS, rows)
        return {}

    inputs = {"policy": policy, **found.version, "prepared": prepared}
    return shard_of(context, "evaluate", "score", round, inputs, own, work)


def scored_before(context: Context, policy: str, prepared: str, round: int) -> Published | None:
    """Scores of the policy that a record stands for, from the round that trained it; None if it has to be scored.

    Answers depend on weights, data, configuration and code, not on the round: the champion's would be the same again.

    Args:
        context: Of the run.
        policy: URI of what the round trained.
        prepared: URI of the prepared data.
        round: Number of the round.
    """
    found = context.policies.find(policy)
    if found.uri == policy:
        return None
    inputs = {"policy": found.uri, **found.version, "prepared": prepared}
    return next((done for n in reversed(range(round)) if (done := context.done("score", n, inputs))), None)


def answer(
    context: Context,
    policy: str,
    held_out: Sequence[Dialogue],
    training: Sequence[Dialogue],
    spaces: Spaces,
    out: Path,
    own: Shard,
) -> None:
    """Write what a policy answers into a directory: predictions, and replies with what is read in them.

    Args:
        context: Of the run.
        policy: Its URI.
        held_out: All held-out dialogues.
        training: What the reader outside the loop is fitted on.
        spaces: Label spaces of both.
        out: Directory.
        own: Which of the held-out dialogues.
    """
    from selfemo.method.evaluation import predict, prefixes, reply
    from selfemo.method.reader import readers_for

    config, mine = context.config, own.of(held_out)
    if not mine:  # more shards than dialogues: nothing to load a policy for
        for name in (PREDICTIONS, REPLIES):
            write_records(out / name, [])
        return
    player = context.policies.find(policy).player()
    with meter("evaluation", sum(1 for d in mine for u in d.turns if u.gold)) as progress:
        write_records(out / PREDICTIONS, predict(player, mine, spaces, progress.advance))
    judge, asked = config.evaluation.judge, config.evaluation.replies
    if asked and judge not in JUDGES:
        judge = names.classifier(judge, "evaluation.judge")
    readers = readers_for(judge, training, spaces, config.seed) if asked else {}
    ids = {d.id for d in mine}
    cut = [c for c in prefixes(held_out, config) if c[0].id in ids]
    with meter("replies", len(cut)) as progress:
        write_records(out / REPLIES, reply(player, cut, spaces, readers, config))
        progress.advance(len(cut))


def scored_on(store: Store, evaluation_uri: str) -> list[Dialogue]:
    """The held-out dialogues of the data that an evaluation read; none where that is not known, or not there any more.

    Args:
        store: That holds both.
        evaluation_uri: URI of the evaluation; empty for none.
    """
    manifest = store.manifest(evaluation_uri) if evaluation_uri else None
    prepared = str(manifest.inputs.get("prepared", "")) if manifest else ""
    if not prepared or store.manifest(prepared) is None:
        return []
    return list(read_jsonl(store.fetch(prepared) / "held_out.jsonl"))
