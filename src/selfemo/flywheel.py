"""The data flywheel: which candidates are kept, and why the rest is not (filter by smoothed IoU: SELF-EMO abstract).

:func:`judge_groups` decides about whole arrays of groups at once; the rest turns rollouts into arrays and
kept candidates into training samples.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from selfemo.config import Config
from selfemo.dialogue import Utterance
from selfemo.labels import SPACES, LabelSpace
from selfemo.records import Candidate, Rollout, Sample
from selfemo.rewards import (
    Floats,
    Masks,
    agreement,
    confidence,
    consensus,
    constant_groups,
    label_entropy,
    smoothed_iou,
)
from selfemo.selfplay import affinity_of, masks_of


class Reason(IntEnum):
    """Why a candidate was rejected; each has exactly one reason, the first that applies in this order."""

    KEPT = 0
    UNPARSEABLE = 1
    EMPTY = 2
    TOO_LONG = 3
    DEGENERATE_TEXT = 4
    LOW_AGREEMENT = 5
    TRIVIAL = 6
    LOW_REWARD = 7
    DUPLICATE = 8
    OVER_QUOTA = 9


@dataclass(frozen=True)
class Verdict:
    """What the array filter says about ``N`` groups of ``K`` candidates.

    Attributes:
        reasons: ``(N, K)`` codes of :class:`Reason`.
        scores: ``(N, K)`` smoothed IoU with the target.
        confidence: ``(N,)``.
        target: ``(N,)`` masks.
    """

    reasons: NDArray[np.uint8]
    scores: Floats
    confidence: Floats
    target: Masks


def judge_groups(
    masks: Masks,
    m: int,
    *,
    target: Masks | None = None,
    early: NDArray[np.uint8] | None = None,
    smoothing: float = 0.1,
    tau_reward: float = 0.3,
    tau_low: float = 0.3,
    affinity: Floats | None = None,
) -> Verdict:
    """Score and filter groups of understanding predictions, as arrays.

    Args:
        masks: ``(N, K)``; 0 is unparseable.
        m: Number of labels.
        target: ``(N,)`` masks, 0 where there is none; the consensus stands in.
        early: ``(N, K)`` reasons already known from the text, or None.
        smoothing: ``s``.
        tau_reward: Least score of a kept candidate.
        tau_low: Least confidence of a kept group.
        affinity: Label affinity, or None.
    """
    voted = consensus(masks, m)
    target = voted if target is None else np.where(target == 0, voted, target)
    sure = confidence(agreement(masks, m, smoothing))
    scores = smoothed_iou(masks, target[:, None], smoothing, affinity)
    reasons = _decide(masks == 0, early, scores, sure[:, None], tau_reward, tau_low)
    return Verdict(reasons, scores, sure, target)


def _decide(
    unparseable: NDArray[np.bool_],
    early: NDArray[np.uint8] | None,
    scores: Floats,
    sure: Floats,
    tau_reward: float,
    tau_low: float,
) -> NDArray[np.uint8]:
    """The first reason that applies to each candidate ``(N, K)``; ``sure`` broadcasts over candidates."""
    reasons = np.full(scores.shape, Reason.KEPT, dtype=np.uint8)
    reasons[scores < tau_reward] = Reason.LOW_REWARD
    reasons[constant_groups(scores)] = Reason.TRIVIAL
    reasons[np.broadcast_to(sure < tau_low, scores.shape)] = Reason.LOW_AGREEMENT
    reasons[unparseable] = Reason.UNPARSEABLE
    return reasons if early is None else np.where(early != Reason.KEPT, early, reasons).astype(np.uint8)


_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def words_of(text: str) -> list[str]:
    """Lower-case words: what length, repetition and duplicates are measured in."""
    return _WORD.findall(text.lower())


def text_reason(reply: str, max_words: int) -> Reason:
    """What the text of a reply alone disqualifies it for: nothing said, too long, or degenerate.

    Degenerate is: no letters, one word filling half of eight or more words, or a repeated word 4-gram.
    """
    words = words_of(reply)
    if not reply.strip():
        return Reason.EMPTY
    if len(words) > max_words:
        return Reason.TOO_LONG
    letters = sum(c.isalpha() or c.isspace() for c in reply)
    grams = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    repeats = any(n > 1 for n in grams.values())
    stuck = len(words) >= 8 and max(Counter(words).values()) > len(words) / 2
    if not words or letters < 0.5 * len(reply) or repeats or stuck or re.search(r"(.)\1{5,}", reply):
        return Reason.DEGENERATE_TEXT
    return Reason.KEPT


@dataclass
class Filtered:
    """What a round keeps.

    Attributes:
        samples: Training samples, in the order of their rollouts.
        reasons: Candidates by reason, per task.
        before: First target label of every group that has one, counted, per task.
        after: The same over the kept samples.
        metrics: The collapse alarm and the pseudo-label accuracy.
    """

    samples: list[Sample] = field(default_factory=list)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    before: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    after: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class _Draft:
    """A sample with what it still may be rejected for, and how many candidates stand behind it."""

    sample: Sample
    text: str
    candidates: int


def filter_rollouts(rollouts: Sequence[Rollout], config: Config) -> Filtered:
    """Turn a round's rollouts into training samples.

    Args:
        rollouts: Of both tasks, all corpora.
        config: Sections ``rewards`` and ``flywheel``.
    """
    result = Filtered()
    scores: list[float] = []
    sure: list[float] = []
    hits: list[bool] = []
    drafts: list[_Draft] = []
    by_space: dict[tuple[str, str], list[Rollout]] = defaultdict(list)
    for rollout in rollouts:
        by_space[rollout.task, rollout.corpus].append(rollout)
    for (task, corpus), group in by_space.items():
        work = _understanding if task == "understanding" else _expression
        drafts += work(group, SPACES[corpus], config, result, scores, sure, hits)
    order = {rollout.id: i for i, rollout in enumerate(rollouts)}
    drafts.sort(key=lambda d: (order[d.sample.parents[0]], d.sample.task))
    for task in ("understanding", "expression"):
        mine = [d for d in drafts if d.sample.task == task]
        kept = _within_quota(_distinct(mine, config, result), config, result)
        for draft in kept:
            result.reasons[task][Reason.KEPT.name.lower()] += draft.candidates
            result.after[task][draft.sample.target[0]] += 1
            result.samples.append(draft.sample)
    rank = {id(d.sample): i for i, d in enumerate(drafts)}
    result.samples.sort(key=lambda s: rank[id(s)])
    replies = [s.reply for s in result.samples if s.reply]
    masks = [SPACES[s.corpus].mask(s.target) for s in result.samples]
    total = sum(sum(c.values()) for c in result.reasons.values())
    accepted = sum(c["kept"] for c in result.reasons.values())
    result.metrics = {
        "candidates": total,
        "accepted": accepted,
        "rejected": total - accepted,
        "acceptance": accepted / total if total else 0.0,
        "samples": len(result.samples),
        "mean_reward": float(np.mean(scores)) if scores else 0.0,
        "group_confidence": float(np.mean(sure)) if sure else 0.0,
        "label_entropy": label_entropy(np.array(masks, dtype=np.uint16), 16) if masks else 0.0,
        "distinct_2": distinct_n(replies, 2),
    }
    if hits:
        result.metrics["pseudo_label_accuracy"] = float(np.mean(hits))
    return result


def _understanding(
    rollouts: Sequence[Rollout],
    space: LabelSpace,
    config: Config,
    result: Filtered,
    scores: list[float],
    sure: list[float],
    hits: list[bool],
) -> list[_Draft]:
    """Drafts from predictions of corpus turns; targets are gold where the run may use it, else the consensus."""
    by_size: dict[int, list[Rollout]] = defaultdict(list)
    for rollout in rollouts:
        by_size[len(rollout.predictions)].append(rollout)
    drafts = []
    for group in by_size.values():
        masks = np.array([masks_of(r.predictions, space) for r in group], dtype=np.uint16)
        empty = np.array([[p.labels == () for p in r.predictions] for r in group])
        usable = [bool(config.flywheel.use_gold and r.gold) for r in group]
        gold = [space.mask(r.gold or ()) if u else 0 for r, u in zip(group, usable, strict=True)]
        verdict = judge_groups(
            masks,
            len(space),
            target=np.array(gold, dtype=np.uint16),
            early=np.where(empty, Reason.EMPTY, Reason.KEPT).astype(np.uint8),
            smoothing=config.rewards.smoothing,
            tau_reward=config.flywheel.tau_reward,
            tau_low=config.flywheel.tau_low,
            affinity=affinity_of(config, space),
        )
        scores += verdict.scores.ravel().tolist()
        sure += verdict.confidence.tolist()
        for i, rollout in enumerate(group):
            count = result.reasons["understanding"]
            count.update(Reason(code).name.lower() for code in verdict.reasons[i] if code != Reason.KEPT)
            target = _ordered(int(verdict.target[i]), rollout, space)
            if not target:
                continue
            result.before["understanding"][target[0]] += 1
            if rollout.gold and not usable[i]:
                hits.append(target[0] == rollout.gold[0])
            if kept := int((verdict.reasons[i] == Reason.KEPT).sum()):
                drafts.append(
                    _Draft(
                        _sample(rollout, "understanding", target, usable[i], float(verdict.confidence[i])),
                        " / ".join(f"{t.speaker}: {t.text}" for t in rollout.history[-3:]),
                        kept,
                    )
                )
    return drafts


def _ordered(target: int, rollout: Rollout, space: LabelSpace) -> tuple[str, ...]:
    """Labels of a target, primary first: by gold order, else by how often and how early the group names them."""
    names = space.names(target)
    if rollout.gold and space.mask(rollout.gold) == target:
        return rollout.gold
    votes: Counter[str] = Counter()
    for prediction in rollout.predictions:
        for place, label in enumerate(prediction.labels or ()):
            votes[label] += 1000 - place
    return tuple(sorted(names, key=lambda n: (-votes[n], space.index[n])))


def _expression(
    rollouts: Sequence[Rollout],
    space: LabelSpace,
    config: Config,
    result: Filtered,
    scores: list[float],
    sure: list[float],
    hits: list[bool],
) -> list[_Draft]:
    """Drafts from candidate replies: one to express again, and one to understand the best reply."""
    drafts = []
    for rollout in rollouts:
        candidates = rollout.candidates
        early = np.array([[_early(c, config) for c in candidates]], dtype=np.uint8)
        x = np.array([[c.score for c in candidates]])
        c = np.array([[k.confidence for k in candidates]])
        none = np.array([[k.labels is None for k in candidates]])
        reasons = _decide(none, early, x, c, config.flywheel.tau_reward, config.flywheel.tau_low)[0]
        scores += x.ravel().tolist()
        sure += [k.confidence for k in candidates if k.labels]
        result.reasons["expression"].update(Reason(r).name.lower() for r in reasons if r != Reason.KEPT)
        result.before["expression"].update(k.labels[0] for k in candidates if k.labels)
        kept = [j for j in range(len(candidates)) if reasons[j] == Reason.KEPT]
        if not kept:
            continue
        best = candidates[max(kept, key=lambda j: (candidates[j].score, candidates[j].confidence, -j))]
        assert best.labels and best.reply  # a kept candidate is an answer
        mean = float(np.mean([candidates[j].confidence for j in kept]))
        express = _sample(rollout, "expression", best.labels, False, mean, best.reply)
        drafts.append(_Draft(express, best.reply, len(kept)))
        heard = rollout.model_copy(
            update={"history": (*rollout.history, Utterance(speaker=rollout.role, text=best.reply))}
        )
        understand = _sample(heard, "understanding", best.labels, False, best.confidence)
        # It repeats the candidate above, so it stands for no further one in the counts.
        drafts.append(_Draft(understand, f"{rollout.role}: {best.reply}", 0))
    return drafts


def _early(candidate: Candidate, config: Config) -> Reason:
    if candidate.labels is None:
        return Reason.UNPARSEABLE
    if not candidate.labels:
        return Reason.EMPTY
    return text_reason(candidate.reply or "", config.flywheel.max_words)


def _sample(
    rollout: Rollout, task: str, target: tuple[str, ...], gold: bool, sure: float, reply: str | None = None
) -> Sample:
    return Sample.model_validate(
        dict(
            id=f"{rollout.id}#{task}", round=rollout.round, policy=rollout.policy, corpus=rollout.corpus,
            dialogue=rollout.dialogue, task=task, history=rollout.history, role=rollout.role, target=target,
            gold=gold, confidence=sure, parents=(rollout.id,), reply=reply,
        )
    )  # fmt: skip


def shingles(text: str, size: int = 3) -> set[str]:
    """Word shingles of a text; a shorter text is one shingle."""
    words = words_of(text)
    return {" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def _distinct(drafts: list[_Draft], config: Config, result: Filtered) -> list[_Draft]:
    """Drafts without near-duplicates of a more confident one (MinHash LSH proposes, Jaccard decides)."""
    from datasketch import MinHash, MinHashLSH

    threshold = config.flywheel.near_duplicate
    # A recall-heavy index: what it proposes beyond the threshold is refused by the exact check.
    index = MinHashLSH(threshold=max(0.1, threshold - 0.15), num_perm=64)
    seen: dict[int, set[str]] = {}
    kept = []
    ranked = sorted(range(len(drafts)), key=lambda i: (-drafts[i].sample.confidence, i))
    for i in ranked:
        mine = shingles(drafts[i].text)
        sketch = MinHash(num_perm=64)
        sketch.update_batch([s.encode() for s in sorted(mine)])
        near = (seen[other] for other in index.query(sketch))
        if any(len(mine & theirs) >= threshold * len(mine | theirs) for theirs in near):
            _reject(drafts[i], Reason.DUPLICATE, result)
            continue
        index.insert(i, sketch)
        seen[i] = mine
        kept.append(i)
    return [drafts[i] for i in sorted(kept)]


def _within_quota(drafts: list[_Draft], config: Config, result: Filtered) -> list[_Draft]:
    """At most ``quota`` of the drafts led by one label, and at most ``samples`` in all, labels in turn."""
    cap = max(1, round(config.flywheel.quota * len(drafts)))
    queues: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(drafts)), key=lambda i: (-drafts[i].sample.confidence, i)):
        queues[drafts[i].sample.target[0]].append(i)
    chosen: set[int] = set()
    for turn in range(cap):
        for label in sorted(queues):
            if turn < len(queues[label]) and len(chosen) < config.flywheel.samples:
                chosen.add(queues[label][turn])
    for i, draft in enumerate(drafts):
        if i not in chosen:
            _reject(draft, Reason.OVER_QUOTA, result)
    return [drafts[i] for i in sorted(chosen)]


def _reject(draft: _Draft, reason: Reason, result: Filtered) -> None:
    if draft.candidates:
        result.reasons[draft.sample.task][reason.name.lower()] += draft.candidates


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Share of distinct word n-grams over all texts: 1 is all different, towards 0 is collapse."""
    grams: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = words_of(text)
        grams.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    total = sum(grams.values())
    return len(grams) / total if total else 0.0
