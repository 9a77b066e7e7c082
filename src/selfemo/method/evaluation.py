"""Scores on held-out dialogues, with intervals (method.md, Evaluation)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from selfemo.config import Config
from selfemo.data.corpora.table import spaces_in
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.data.records import Prediction, Reply, read_records
from selfemo.data.seeds import seed_of
from selfemo.method.flywheel.texts import distinct_n, most_frequent
from selfemo.method.parsing import parse_expression
from selfemo.method.player import Player, likeliest, written
from selfemo.method.probabilities import (
    brier,
    calibration_error,
    cross_scaled,
    fitted_temperature,
    of_primary,
    risk_coverage,
)
from selfemo.method.reader import Reader
from selfemo.method.rewards import Floats, entropy, smoothed_iou
from selfemo.method.sets import masks_of, summarise_sets
from selfemo.method.tallies import bootstrap, interval, micro_f1, scores_of, tallies
from selfemo.policy.engine import Sampling
from selfemo.store.artifacts import Store

PREDICTIONS = "predictions.jsonl.gz"
"""File of an evaluation that holds a line a held-out turn."""
CORRECTED = "corrected.jsonl.gz"
"""The same of corrected conversations that are held out, which are no part of the figures of a corpus."""


def predictions(store: Store, evaluation_uri: str) -> list[Prediction]:
    """Held-out predictions of an evaluation; none for the empty URI.

    Args:
        store: That holds it.
        evaluation_uri: Its URI.

    Raises:
        UserError: If nothing is published there.
    """
    return list(read_records(store.fetch(evaluation_uri) / PREDICTIONS, Prediction)) if evaluation_uri else []


def corrected_predictions(store: Store, evaluation_uri: str) -> list[Prediction]:
    """What an evaluation predicted on corrected conversations; none of one that had none.

    Args:
        store: That holds it.
        evaluation_uri: Its URI, or the empty one.
    """
    file = store.fetch(evaluation_uri) / CORRECTED if evaluation_uri else None
    return list(read_records(file, Prediction)) if file is not None and file.is_file() else []


def labels_of(store: Store, made: str) -> dict[str, LabelSpace]:
    """The label spaces that go with prepared data, scores or weights; of what an older version made, those shipped.

    Args:
        store: That holds it.
        made: URI of the artifact.
    """
    return spaces_in(store.fetch(made))


def predict(
    player: Player, dialogues: Sequence[Dialogue], known: Spaces, progress: Callable[[int], None] = lambda _: None
) -> list[Prediction]:
    """What the policy reads in every gold turn of held-out dialogues; it sees past turns only."""
    hidden = [(d, d.hidden().turns) for d in dialogues]
    turns = [(d, shown, t) for d, shown in hidden for t, turn in enumerate(d.turns) if turn.gold]
    histories = [player.prompter.past(shown, t + 1) for _, shown, t in turns]
    spaces = [known[d.corpus] for d, _, _ in turns]
    read = player.read(histories, spaces, progress)
    return [scored(d, t, space, row_A) for (d, _, t), space, row_A in zip(turns, spaces, read, strict=True)]


def scored(dialogue: Dialogue, turn: int, space: LabelSpace, chances_A: Floats) -> Prediction:
    """What was read in a gold turn, as it is kept.

    Args:
        dialogue: With its gold.
        turn: Number of the turn.
        space: Its labels.
        chances_A: How likely each of the allowed answers is.
    """
    said = dialogue.turns[turn]
    return Prediction(
        corpus=dialogue.corpus,
        dialogue=dialogue.id,
        turn=turn,
        gold=said.gold or (),
        votes=said.votes,
        predicted=likeliest(chances_A, space),
        posterior=written(chances_A),
    )


def confusion(rows: Sequence[Prediction], space: LabelSpace) -> NDArray[np.int64]:
    """Confusion of primary labels by dialogue.

    Returns:
        ``(D, m, m + 1)`` counts: dialogue, gold, predicted; the last column is unparseable. Dialogues are in
        the order in which they first appear.
    """
    dialogues = {d: i for i, d in enumerate(dict.fromkeys(r.dialogue for r in rows))}
    counts = np.zeros((len(dialogues), len(space), len(space) + 1), dtype=np.int64)
    for row in rows:
        predicted = space.index[row.predicted[0]] if row.predicted else len(space)
        counts[dialogues[row.dialogue], space.index[row.gold[0]], predicted] += 1
    return counts


def summarise(rows: Sequence[Prediction], space: LabelSpace, config: Config) -> dict[str, object]:
    """Metrics of one corpus.

    Args:
        rows: Its held-out turns.
        space: Its labels.
        config: Sections ``evaluation`` and ``rewards``.

    Returns:
        ``turns``, ``dialogues``, ``accuracy``, ``weighted_f1`` and ``macro_f1`` with their 95 % intervals; if there is
        a neutral label ``micro_f1_emotions``, of all others (DailyDialog's convention); ``f1`` by label; the figures
        of :func:`selfemo.method.sets.summarise_sets`, and ``mean_iou`` of the sets; ``calibration_error`` and
        ``brier`` of the probabilities as they are, and ``scaled_`` by a temperature that other dialogues gave; the
        ``temperature`` that all of them give, ``accuracy_of_surest`` share of the turns, ``label_entropy`` of the
        primary labels that are predicted, in nats, and ``confusion`` with ``labels``.
    """
    counts = confusion(rows, space)
    point = scores_of(counts.sum(0))
    emotions = [i for i, label in enumerate(space.labels) if label != space.neutral]
    drawn = bootstrap(counts, config.evaluation.bootstrap, config.seed)
    gold, named = masks_of([r.gold for r in rows], space), masks_of([r.predicted for r in rows], space)
    iou = smoothed_iou(named, gold, smoothing=1e-9)  # towards 0 it is plain IoU
    chances_Nm = of_primary(np.array([r.posterior for r in rows]), space)
    first = np.array([space.index[r.gold[0]] for r in rows])
    believed_Nm = cross_scaled(chances_Nm, first, [r.dialogue for r in rows])
    return {
        "turns": len(rows),
        "dialogues": len(counts),
        "accuracy": float(point.accuracy),
        "accuracy_interval": interval(drawn.accuracy),
        "weighted_f1": float(point.weighted_f1),
        "weighted_f1_interval": interval(drawn.weighted_f1),
        "macro_f1": float(point.macro_f1),
        "macro_f1_interval": interval(drawn.macro_f1),
        **({"micro_f1_emotions": float(micro_f1(tallies(counts.sum(0))[:, emotions]))} if space.neutral else {}),
        "f1": {label: float(v) for label, v in zip(space.labels, point.f1, strict=True)},
        **summarise_sets(rows, space, config),
        "mean_iou": float(iou.mean()),
        "calibration_error": calibration_error(chances_Nm, first),
        "brier": brier(chances_Nm, first),
        "temperature": fitted_temperature(chances_Nm, first),
        "scaled_calibration_error": calibration_error(believed_Nm, first),
        "scaled_brier": brier(believed_Nm, first),
        "accuracy_of_surest": risk_coverage(chances_Nm, first),
        "label_entropy": entropy(counts[..., :-1].sum((0, 1))),
        "labels": list(space.labels),
        "confusion": counts.sum(0).tolist(),
    }


def prefixes(dialogues: Sequence[Dialogue], config: Config) -> list[tuple[Dialogue, int]]:
    """The held-out prefixes that a policy replies to: ``evaluation.replies`` at most, one a dialogue, with its cut."""
    long = (d for d in dialogues if len(d.turns) > 1)
    ordered = sorted(long, key=lambda d: seed_of(config.seed, d.id))[: config.evaluation.replies]
    return [(d, 1 + seed_of(config.seed, "cut", d.id) % (len(d.turns) - 1)) for d in ordered]


def reply(
    player: Player, cut: Sequence[tuple[Dialogue, int]], known: Spaces, readers: Mapping[str, Reader], config: Config
) -> list[Reply]:
    """Let the policy reply once to each prefix, where the next gold speaker would, and let it be read.

    Args:
        player: The policy; it is also the first reader.
        cut: Of :func:`prefixes`, or some of them.
        known: Label spaces by corpus.
        readers: Those outside the loop, by corpus.
        config: Of the run.
    """
    if not cut:
        return []
    spaces = [known[d.corpus] for d, _ in cut]
    histories = [d.hidden().turns[:at] for d, at in cut]
    roles = [d.turns[at].speaker for d, at in cut]
    prompts = [player.prompter.expression(h, r, s) for h, r, s in zip(histories, roles, spaces, strict=True)]
    seeds = [seed_of(config.seed, "reply", d.id) for d, _ in cut]
    room = Sampling(1, config.selfplay.max_reply_tokens + player.prompter.room(known.values()))
    sampled = player.engine.sample(prompts, seeds, room)
    answers = [parse_expression(c[0].text, s) for c, s in zip(sampled, spaces, strict=True)]
    valid = [i for i, a in enumerate(answers) if a.parsed and a.labels and a.reply]
    answered = [(*histories[i], Utterance(speaker=roles[i], text=answers[i].reply or "")) for i in valid]
    read = player.read(answered, [spaces[i] for i in valid])
    rows = [Reply(corpus=d.corpus, dialogue=d.id) for d, _ in cut]
    for i, chances_A, history in zip(valid, read, answered, strict=True):
        reader = readers.get(rows[i].corpus)
        said = {"declared": answers[i].labels, "reply": answers[i].reply}
        own = likeliest(chances_A, spaces[i])[0]
        rows[i] = rows[i].model_copy(update={**said, "own": own, "judge": reader.label(history) if reader else None})
    return rows


def consistency(rows: Sequence[Reply]) -> dict[str, float]:
    """Expression consistency: the share of replies whose emotion is read back.

    A reply is read back if the reader's top label is in the set the responder declared. Replies that are no answer
    count as not read back. A policy that means every reply to be neutral is read back in most, and expresses nothing;
    so it is told as well how far answers are read back beyond chance (kappa, Cohen 1960), which is 0 then.

    Returns:
        ``own``, ``judge``, ``own_kappa``, ``judge_kappa``, ``answered`` (share of replies that are answers),
        ``distinct_2``, ``most_frequent`` (share of the reply said most often) and ``replies``; empty if there are none.
    """
    if not rows:
        return {}
    answered = [r for r in rows if r.declared]
    return {
        "own": sum(r.own in r.declared for r in answered) / len(rows),
        "judge": sum(r.judge in r.declared for r in answered) / len(rows),
        "own_kappa": _beyond_chance([(r.declared, r.own) for r in answered]),
        "judge_kappa": _beyond_chance([(r.declared, r.judge) for r in answered]),
        "answered": len(answered) / len(rows),
        "distinct_2": distinct_n([r.reply for r in answered], 2),
        "most_frequent": most_frequent([r.reply for r in answered]),
        "replies": len(rows),
    }


def _beyond_chance(rows: Sequence[tuple[tuple[str, ...], str | None]]) -> float:
    """Cohen's kappa of what replies declare and what is read in them; of sets: whether the one holds the other.

    By chance is how often what one reply declares holds what is read in any. Where that is always so, 0.
    """
    if not rows:
        return 0.0
    agreed = np.mean([label in declared for declared, label in rows])
    sets, read = Counter(declared for declared, _ in rows), Counter(label for _, label in rows)
    chance = sum(n * m for d, n in sets.items() for label, m in read.items() if label in d) / len(rows) ** 2
    return float((agreed - chance) / (1 - chance)) if chance < 1 else 0.0
