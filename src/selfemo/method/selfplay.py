"""Role-based self-play: one policy is recogniser and responder, in turns (SELF-EMO abstract; details method.md)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.data.records import Candidate, Posterior, Rollout
from selfemo.data.seeds import seed_of
from selfemo.method.affinity import affinity_of
from selfemo.method.parsing import parse_expression
from selfemo.method.player import Player, written
from selfemo.method.rewards import Floats, expected_agreement, iou_matrix, smoothed_iou
from selfemo.method.voices import RESPONDER, WORDS
from selfemo.method.words import WordModel
from selfemo.policy.engine import Sampling


def listen(
    player: Player, histories: Sequence[Sequence[Utterance]], spaces: Sequence[LabelSpace], config: Config
) -> list[Floats]:
    """What listeners read in the last turn of each history ``(V, A)``, one for each view of ``selfplay.listeners``.

    One who sees the whole history may tell the emotion from what was said before and not from the reply; one who sees
    the reply alone cannot (defined here).
    """
    shown = [player.prompter.window(h) for h in histories]  # what training keeps of a history as well
    views = config.selfplay.listeners or (player.prompter.history_turns,)
    read = [player.read([h[-view:] for h in shown], spaces) for view in views]
    return [np.array(rows) for rows in zip(*read, strict=True)]


def grade(
    candidates: Sequence[Candidate], readings: Sequence[Floats | None], space: LabelSpace, config: Config
) -> list[Candidate]:
    """Fill in what is read in each candidate, its expression score ``x_j`` and the confidence of what is read.

    Args:
        candidates: Replies with what they declare.
        readings: What each listener reads in each ``(V, A)``; None of a candidate that is no answer. Their mean is
            kept, and the score is that of the listener who finds least of what was declared.
        space: Their labels.
        config: For the smoothing and the affinity.
    """
    smoothing, affinity = config.rewards.smoothing, affinity_of(config, space)
    between = iou_matrix(space.answer_masks, smoothing, affinity)
    graded = []
    for candidate, reading_VA in zip(candidates, readings, strict=True):
        if reading_VA is not None and candidate.labels:
            fits = smoothed_iou(space.answer_masks, space.mask(candidate.labels), smoothing, affinity)
            reading = written(reading_VA.mean(axis=0))
            confidence = expected_agreement(np.array(reading)[None], between)[0]
            score = np.array([written(chances_A) for chances_A in reading_VA]) @ fits
            found = {"reading": reading, "score": float(score.min()), "confidence": float(confidence)}
            candidate = candidate.model_copy(update=found)
        graded.append(candidate)
    return graded


def next_role(history: Sequence[Utterance], speakers: Sequence[str]) -> str:
    """The speaker other than the last one who spoke most recently; roles swap turn by turn."""
    last = history[-1].speaker
    for turn in reversed(history):
        if turn.speaker != last:
            return turn.speaker
    return next((s for s in speakers if s != last), "Friend")


def understand_corpus(
    player: Player,
    dialogues: Sequence[Dialogue],
    spaces: Spaces,
    round: int,
    config: Config,
    progress: Callable[[int], None],
    words: Mapping[str, WordModel] = MappingProxyType({}),
    held_out: bool = False,
) -> list[Rollout]:
    """What the policy reads in every turn of some corpus dialogues; no label is needed, none is shown.

    The recogniser is asked once with each view of the history (``selfplay.views``), so that a target does not depend on
    how much of the past was seen; the responder, if ``selfplay.cross_role``, how well each answer accounts for the
    turn.

    Args:
        player: The policy, in both roles.
        dialogues: Of the corpora.
        spaces: Their labels.
        round: Number of the round.
        config: Section ``selfplay``.
        progress: Called as turns are asked about.
        words: A reader of another kind for each corpus, if it is asked as well.
        held_out: What to mark the rollouts as.
    """
    play = config.selfplay
    past = player.prompter.past
    hidden = [(d, d.hidden().turns) for d in dialogues]
    turns = [(d, shown, t) for d, shown in hidden for t in range(len(shown))]
    of_turns = [spaces[d.corpus] for d, _, _ in turns]
    posteriors: list[dict[str, Posterior]] = [{} for _ in turns]
    for view in play.views or (None,):
        seen = [past(shown, t + 1, view) for _, shown, t in turns]
        name = str(view or player.prompter.history_turns)
        for found, chances_A in zip(posteriors, player.read(seen, of_turns, progress), strict=True):
            found[name] = written(chances_A)
    if play.cross_role:
        said = [[*past(shown, t), shown[t]] for _, shown, t in turns]
        for found, chances_A in zip(posteriors, player.hear(said, of_turns, progress), strict=True):
            found[RESPONDER] = written(chances_A)
    for found, space, (d, shown, t) in zip(posteriors, of_turns, turns, strict=True):
        if d.corpus in words:
            found[WORDS] = written(words[d.corpus].read(shown[t].text, space))
    return [
        Rollout(
            id=f"r{round}/understanding/{d.id}/{t}",
            round=round,
            policy=player.policy,
            corpus=d.corpus,
            dialogue=d.id,
            task="understanding",
            history=tuple(past(shown, t + 1)),
            role=d.turns[t].speaker,
            gold=d.turns[t].gold,
            held_out=held_out,
            posteriors=found,
        )
        for (d, shown, t), found in zip(turns, posteriors, strict=True)
    ]


@dataclass
class _Episode:
    id: str
    dialogue: Dialogue
    history: list[Utterance]
    live: bool = True


def play_episodes(
    player: Player,
    dialogues: Sequence[Dialogue],
    spaces: Spaces,
    round: int,
    config: Config,
    progress: Callable[[int], None],
    first: int = 0,
) -> list[Rollout]:
    """Continue seed prefixes for ``H`` turns (method.md, Self-play).

    Args:
        player: The policy, in both roles.
        dialogues: Seed dialogues, one an episode.
        spaces: Label spaces of their corpora.
        round: Number of the round.
        config: Of the run.
        progress: Called as candidates are read.
        first: Number of the first episode: its name and its draws depend on it.

    Returns:
        One rollout for each generated turn, in the order of episode and turn.
    """
    play = config.selfplay
    episodes = []
    for index, dialogue in enumerate(dialogues, first):
        rng = random.Random(seed_of(config.seed, round, "prefix", dialogue.id, index))
        length = rng.randint(1, max(1, len(dialogue.turns) - 1))
        prefix = list(dialogue.hidden().turns[:length])
        episodes.append(_Episode(f"r{round}/episode-{index:04d}", dialogue, prefix))
    rollouts: list[tuple[str, int, Rollout]] = []
    for turn in range(play.turns):
        live = [e for e in episodes if e.live]
        for episode, rollout in zip(live, _one_turn(player, live, spaces, turn, round, config, progress), strict=True):
            rollouts.append((episode.id, turn, rollout))
            if rollout.chosen is None:
                episode.live = False  # no candidate is an answer: there is no next turn to play
                continue
            spoken = rollout.candidates[rollout.chosen]
            episode.history.append(Utterance(speaker=rollout.role, text=spoken.reply or ""))
    return [rollout for _, _, rollout in sorted(rollouts, key=lambda r: r[:2])]


def _one_turn(
    player: Player,
    episodes: list[_Episode],
    known: Spaces,
    turn: int,
    round: int,
    config: Config,
    progress: Callable[[int], None],
) -> list[Rollout]:
    """One generated turn of all live episodes at once: candidates, what is read in them, scores, draw."""
    play = config.selfplay
    spaces = [known[e.dialogue.corpus] for e in episodes]
    roles = [next_role(e.history, [u.speaker for u in e.dialogue.turns]) for e in episodes]
    seeds = [seed_of(config.seed, round, "expression", e.id, turn) for e in episodes]
    prompts = [
        player.prompter.expression(e.history, role, s) for e, role, s in zip(episodes, roles, spaces, strict=True)
    ]
    room = play.max_reply_tokens + player.prompter.room(known.values())  # of all: no answer depends on another's corpus
    sampling = Sampling(play.candidates, room, play.temperature, play.top_p)
    groups = []
    for sampled, space in zip(player.engine.sample(prompts, seeds, sampling), spaces, strict=True):
        answers = [(c.text, parse_expression(c.text, space)) for c in sampled]
        groups.append(
            [
                Candidate(text=t, labels=a.labels if a.parsed else None, reply=a.reply if a.parsed else None)
                for t, a in answers
            ]
        )
    flat = [(i, j) for i, g in enumerate(groups) for j, c in enumerate(g) if c.labels and c.reply]
    histories = [(*episodes[i].history, Utterance(speaker=roles[i], text=groups[i][j].reply or "")) for i, j in flat]
    readings = dict(zip(flat, listen(player, histories, [spaces[i] for i, _ in flat], config), strict=True))
    rollouts = []
    for i, episode in enumerate(episodes):
        candidates = grade(groups[i], [readings.get((i, j)) for j in range(len(groups[i]))], spaces[i], config)
        rollouts.append(
            Rollout(
                id=f"{episode.id}/{turn}",
                round=round,
                policy=player.policy,
                corpus=episode.dialogue.corpus,
                dialogue=episode.dialogue.id,
                episode=episode.id,
                task="expression",
                history=tuple(player.prompter.window(episode.history)),
                role=roles[i],
                candidates=tuple(candidates),
                chosen=_draw(candidates, play.tau, seeds[i]),
                temperature=play.temperature,
                top_p=play.top_p,
                seed=seeds[i],
            )
        )
        progress(1)
    return rollouts


def _draw(candidates: Sequence[Candidate], tau: float, seed: int) -> int | None:
    """The next turn, with probability proportional to ``exp(x_j / tau)``, among candidates that are answers."""
    valid = [j for j, c in enumerate(candidates) if c.labels and c.reply]
    if not valid:
        return None
    scores = np.array([candidates[j].score for j in valid])
    weights = np.exp((scores - scores.max()) / tau)
    return valid[int(np.random.default_rng(seed_of(seed, "draw")).choice(len(valid), p=weights / weights.sum()))]


def choose_dialogues(pool: Sequence[Dialogue], count: int, round: int, seed: int, purpose: str) -> list[Dialogue]:
    """The round's share of the pool: rounds walk through one shuffled order, so they see new dialogues first."""
    if not pool:
        return []
    order = sorted(pool, key=lambda d: seed_of(seed, purpose, d.id))
    start = (round - 1) * count
    return [order[(start + i) % len(order)] for i in range(min(count, len(order)))]
