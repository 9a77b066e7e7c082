"""The data flywheel: from a round's rollouts to its training samples (SELF-EMO abstract; details docs/method.md).

`reasons` decides about arrays of candidates, `texts` about the text of a reply; here
rollouts become arrays, and what is kept becomes samples, without near-duplicates and within the label quota.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from selfemo.config import Config
from selfemo.data.dialogue import Utterance
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.data.records import Candidate, Posterior, Rollout, Sample
from selfemo.method.affinity import affinity_of
from selfemo.method.flywheel.duplicates import NearDuplicates, learnt
from selfemo.method.flywheel.readings import Readings, read
from selfemo.method.flywheel.reasons import Reason, reasons_of_replies, reasons_of_turns
from selfemo.method.flywheel.result import Draft, Filtered
from selfemo.method.flywheel.texts import text_reason
from selfemo.method.player import likeliest, written
from selfemo.method.rewards import Floats, label_shift_weights, marginals, reweighted
from selfemo.method.voices import RECOGNISER


def filter_rollouts(
    rollouts: Sequence[Rollout],
    spaces: Spaces,
    config: Config,
    known: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    earlier: Mapping[str, str] = MappingProxyType({}),
) -> Filtered:
    """Turn a round's rollouts into training samples.

    Args:
        rollouts: Of both tasks, all corpora.
        spaces: Their labels.
        config: Sections ``rewards`` and ``flywheel``.
        known: How often each label occurs among labelled turns, by corpus.
        earlier: First labels of the targets by turn, of the rounds that taught the policy.
    """
    result = Filtered(earlier=earlier)
    by_space: dict[tuple[str, str], list[Rollout]] = defaultdict(list)
    held_out: dict[str, list[Rollout]] = defaultdict(list)
    for rollout in rollouts:
        (held_out[rollout.corpus] if rollout.held_out else by_space[rollout.task, rollout.corpus]).append(rollout)
    drafts: list[Draft] = []
    for (task, corpus), group in by_space.items():
        space = spaces[corpus]
        if task == "expression":
            drafts += _expression(group, space, config, result)
        else:
            counts = [known.get(corpus, {}).get(label, 0) for label in space.labels]
            readings = read(group, held_out[corpus], space)
            result.note_voices(readings, group, corpus, space)
            drafts += _understanding(group, readings, space, counts, config, result)
    order = {rollout.id: i for i, rollout in enumerate(rollouts)}
    drafts.sort(key=lambda d: (order[d.sample.parents[0]], d.sample.task))
    for task in ("expression", "understanding"):
        mine = [d for d in drafts if d.sample.task == task]
        for draft in _within_quota(_surest(_distinct(mine, config, result), config, result), config, result):
            result.reasons[task][Reason.KEPT.name.lower()] += draft.candidates
            result.after[task][draft.sample.target[0]] += 1
            result.labels["kept"][draft.sample.corpus][draft.sample.target[0]] += 1
            result.samples.append(draft.sample)
            if draft.hit is not None:
                result.kept_hits.append(draft.hit)
    result.samples.sort(key=lambda s: (order[s.parents[0]], s.task))
    result.summarise()
    return result


def _understanding(
    rollouts: Sequence[Rollout],
    readings: Readings,
    space: LabelSpace,
    known: Sequence[int],
    config: Config,
    result: Filtered,
) -> list[Draft]:
    """Drafts from what is read in corpus turns; targets are gold where the run may use it, else the consensus."""
    usable = [bool(config.flywheel.use_gold and r.gold) for r in rollouts]
    gold = [space.mask(r.gold or ()) if u else 0 for r, u in zip(rollouts, usable, strict=True)]
    bounds, m = config.flywheel, len(space)
    label_weights = label_shift_weights(marginals(readings.pooled_NA, space.answer_masks, m), known, bounds.calibration)
    reweighted_NA = reweighted(readings.pooled_NA, space.answer_masks, label_weights)
    assessed = reasons_of_turns(
        readings.pooled_NA,
        space.answer_masks,
        m,
        reweighted_NA=reweighted_NA,
        target=np.array(gold, dtype=np.uint64),
        smoothing=config.rewards.smoothing,
        tau_reward=bounds.tau_reward,
        tau_low=bounds.tau_low,
        affinity=affinity_of(config, space),
    )
    result.scores += assessed.scores.tolist()
    result.confidences += assessed.confidence.tolist()
    drafts = []
    for i, rollout in enumerate(rollouts):
        predicted = likeliest(readings.voices[RECOGNISER][i], space)
        result.labels["predicted"][rollout.corpus][predicted[0]] += 1
        target = _ordered(int(assessed.target[i]), assessed.marginals[i], rollout.gold, space)
        result.assess(
            rollout, assessed.scores[i : i + 1], assessed.confidence[i : i + 1], assessed.reasons[i : i + 1], target
        )
        result.before["understanding"][target[0]] += 1
        result.labels["target"][rollout.corpus][target[0]] += 1
        result.targets[rollout.id.partition("/")[2]] = target[0]  # the turn, without the round
        hit = target[0] == rollout.gold[0] if rollout.gold and not usable[i] else None
        if hit is not None:
            result.hits.append(hit)
        if assessed.reasons[i] == Reason.KEPT:
            confidence = float(assessed.confidence[i])
            pooled, other = () if usable[i] else written(reweighted_NA[i]), written(readings.other_NA[i])
            sample = _sample(rollout, "understanding", target, usable[i], confidence, posterior=other, consensus=pooled)
            drafts.append(Draft(sample, " / ".join(f"{t.speaker}: {t.text}" for t in rollout.history[-3:]), 1, hit))
        else:
            reason = Reason(assessed.reasons[i])
            result.reasons["understanding"][reason.name.lower()] += 1
            last = rollout.history[-1]
            result.show("understanding", reason, f"{last.speaker}: {last.text} -> {', '.join(target)}")
    return drafts


def _ordered(target: int, marginals_m: Floats, gold: tuple[str, ...] | None, space: LabelSpace) -> tuple[str, ...]:
    """Labels of a target, primary first: by gold order, else by how likely each is."""
    if gold and space.mask(gold) == target:
        return gold
    return tuple(sorted(space.names(target), key=lambda n: (-marginals_m[space.index[n]], space.index[n])))


def _expression(
    rollouts: Sequence[Rollout],
    space: LabelSpace,
    config: Config,
    result: Filtered,
) -> list[Draft]:
    """Drafts from candidate replies: one to express again, and one to understand the best reply to that.

    Both have the emotions that the first kept candidate declares: of those that pass the filter a draw of the policy's
    own, not what is read most easily.
    """
    drafts = []
    for rollout in rollouts:
        candidates = rollout.candidates
        early = np.array([_early(c, space, config) for c in candidates], dtype=np.uint8)
        x = np.array([c.score for c in candidates])
        c = np.array([k.confidence for k in candidates])
        meant = np.array([space.mask(k.labels or ()) for k in candidates], dtype=np.uint64)
        reasons = reasons_of_replies(early, meant, x, c, config.flywheel.tau_reward, config.flywheel.tau_low)
        result.assess(rollout, x, c, reasons)
        result.scores += x.tolist()
        result.confidences += [k.confidence for k in candidates if k.labels]
        result.reasons["expression"].update(Reason(r).name.lower() for r in reasons if r != Reason.KEPT)
        _show_rejected(result, rollout, reasons)
        declared = [k.labels[0] for k in candidates if k.labels]
        result.before["expression"].update(declared)
        result.labels["declared"][rollout.corpus].update(declared)
        result.sampled += [k.reply for k in candidates if k.labels and k.reply][:1]
        kept = [j for j in range(len(candidates)) if reasons[j] == Reason.KEPT]
        if not kept:
            continue
        alike = [j for j in kept if meant[j] == meant[kept[0]]]
        best = candidates[max(alike, key=lambda j: (candidates[j].score, candidates[j].confidence, -j))]
        target = candidates[kept[0]].labels
        assert target and best.reply  # a kept candidate is an answer
        mean = float(np.mean([candidates[j].confidence for j in alike]))
        express = _sample(rollout, "expression", target, False, mean, best.reply)
        drafts.append(Draft(express, best.reply, len(kept)))
        answered = rollout.model_copy(
            update={"history": (*rollout.history, Utterance(speaker=rollout.role, text=best.reply))}
        )
        understand = _sample(answered, "understanding", target, False, best.confidence, posterior=best.reading)
        # It repeats the candidate above, so it stands for no further one in the counts.
        drafts.append(Draft(understand, f"{rollout.role}: {best.reply}", 0))
    return drafts


def _show_rejected(result: Filtered, rollout: Rollout, codes: NDArray[np.uint8]) -> None:
    """Keep examples of a group's rejected replies: the turn before, and what was said."""
    last = rollout.history[-1]
    for code in np.unique(codes[codes != Reason.KEPT]):
        answer = rollout.candidates[int(np.flatnonzero(codes == code)[0])].text
        result.show(rollout.task, Reason(code), f"{last.speaker}: {last.text} -> {answer}")


def _early(candidate: Candidate, space: LabelSpace, config: Config) -> Reason:
    if candidate.labels is None:
        return Reason.UNPARSEABLE
    if not candidate.labels:
        return Reason.EMPTY
    return text_reason(candidate.reply or "", config.flywheel.max_words, space)


def _sample(
    rollout: Rollout,
    task: str,
    target: tuple[str, ...],
    gold: bool,
    confidence: float,
    reply: str | None = None,
    posterior: Posterior = (),
    consensus: Posterior = (),
) -> Sample:
    return Sample.model_validate(
        dict(
            id=f"{rollout.id}#{task}",
            round=rollout.round,
            policy=rollout.policy,
            corpus=rollout.corpus,
            dialogue=rollout.dialogue,
            task=task,
            history=rollout.history,
            role=rollout.role,
            target=target,
            gold=gold,
            confidence=confidence,
            posterior=posterior,
            consensus=consensus,
            parents=(rollout.id,),
            reply=reply,
        )
    )


def _distinct(drafts: list[Draft], config: Config, result: Filtered) -> list[Draft]:
    """Drafts without near-duplicates of a more confident one of their corpus; another has other labels to learn."""
    met: dict[str, NearDuplicates] = defaultdict(lambda: NearDuplicates(config.flywheel.near_duplicate))
    kept = []
    for i in sorted(range(len(drafts)), key=lambda i: (-drafts[i].sample.confidence, i)):
        mine, index = learnt(drafts[i].sample), met[drafts[i].sample.corpus]
        if index.near(mine):
            result.reject(drafts[i], Reason.DUPLICATE)
            continue
        index.add(mine)
        kept.append(i)
    return [drafts[i] for i in sorted(kept)]


def _surest(drafts: list[Draft], config: Config, result: Filtered) -> list[Draft]:
    """The most confident share of the drafts led by each label: one bound for all labels would drop the rare ones."""
    queues: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(drafts)), key=lambda i: (-drafts[i].sample.confidence, i)):
        queues[drafts[i].sample.target[0]].append(i)
    kept = {i for queue in queues.values() for i in queue[: math.ceil(config.flywheel.share * len(queue))]}
    for i, draft in enumerate(drafts):
        if i not in kept:
            result.reject(draft, Reason.UNSURE)
    return [drafts[i] for i in sorted(kept)]


def _within_quota(drafts: list[Draft], config: Config, result: Filtered) -> list[Draft]:
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
            result.reject(draft, Reason.OVER_QUOTA)
    return [drafts[i] for i in sorted(chosen)]
