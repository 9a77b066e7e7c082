"""What a policy learns to express: from sampled replies that one listener reads, or two, or from real next turns.

python benchmarks/expression.py --place DIRECTORY [--seeds 1 2] [--episodes 24] [--ways one unshared two hindsight]

From the warm-up of a seed of the study: episodes are played and SELF-GRPO learns replies alone, with one listener of
the whole history (`one`), the same where replies that repeat each other do not share a reward (`unshared`), or with
a second listener of the reply alone, both in self-play and in the reward (`two`); or
real next turns are learnt by cross-entropy, E with them, E being what the recogniser reads where both views agree
(`hindsight`). Each policy then replies once in every dialogue that is scored. The policy itself and two judges that are
fitted on other dialogues say whether what a reply declares is read in it, as a share and beyond
chance: a policy that means all to be neutral is read back in most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hindsight import cuts
from subjects import SPACES
from trial import Trial, digest, parser, variant, write

from selfemo.config import Config
from selfemo.data.dialogue import Utterance
from selfemo.data.records import Record, Reply, Sample, read_records
from selfemo.method.evaluation import consistency, prefixes, reply
from selfemo.method.player import likeliest, written
from selfemo.method.reader import EMBEDDING, TFIDF, ProbeReader
from selfemo.method.selfplay import play_episodes
from selfemo.steps.prepare import corpora_of
from selfemo.training import repeats

VIEWS = (24, 1)
WINDOW = repeats.WINDOW
WAYS = ("one", "unshared", "two", "hindsight")
SMALL: dict[str, Any] = {
    "evaluation__replies": 10_000,
    "selfplay__turns": 2,
    "grpo__group": 8,
    "grpo__prompts_per_step": 4,
}
"""Replies are few: small steps, and more than one pass over them."""


HEADS = (
    "seed",
    "learnt from",
    "means neutral",
    "read back by itself",
    "by embedding",
    "kappa by itself",
    "by embedding",
    "by words",
    "gain in kappa by embedding",
    "distinct-2",
    "share of the most frequent reply",
    "it",
)


class Said(Record):
    """A reply with what another judge than its own reads in it."""

    reply: Reply
    by_words: str | None = None


def settings(seed: int, way: str, epochs: int = 2) -> Config:
    """Configuration of one way to learn."""
    more: dict[str, Any] = {"selfplay__listeners": VIEWS if way == "two" else (), "grpo__epochs": epochs}
    if way == "hindsight":
        more["grpo__objective"] = "cross-entropy"
    return variant(seed, **SMALL, **more)


def sampled(trial: Trial, policy: Path, config: Config, episodes: int) -> list[Sample]:
    """Replies that are worth learning from, of episodes that the policy plays with itself."""
    player, corpus = trial.player(policy), trial.config.corpora[0].name
    rollouts = play_episodes(player, trial.unlabelled(1, episodes), {corpus: SPACES[corpus]}, 1, config, lambda _: None)
    return [s for s in trial.filtered(rollouts, config).samples if s.task == "expression"]


def real(trial: Trial, policy: Path, count: int) -> list[Sample]:
    """So many real next turns, one a dialogue, that both views read alike; labels in turn, for the rare ones."""
    player, corpus = trial.player(policy), trial.config.corpora[0].name
    space, chosen = SPACES[corpus], cuts(trial.pool, len(trial.pool), trial.config.seed)
    read = [player.read([[*c.before, c.turn][-v:] for c in chosen], [space] * len(chosen)) for v in VIEWS]
    by_label: dict[str, list[Sample]] = {}
    for i, (cut, whole_A, alone_A) in enumerate(zip(chosen, *read, strict=True)):
        meant = likeliest(whole_A, space)
        if meant != likeliest(alone_A, space):
            continue
        sample = Sample(
            id=f"hindsight-{i}",
            round=1,
            policy=player.policy,
            corpus=corpus,
            dialogue=f"hindsight-{i}",
            task="expression",
            history=tuple(cut.before),
            role=cut.turn.speaker,
            target=meant,
            gold=False,
            confidence=float(np.max(written(whole_A))),
            parents=(),
            reply=cut.turn.text,
        )
        by_label.setdefault(meant[0], []).append(sample)
    turns = max(map(len, by_label.values()))
    return [mine[n] for n in range(turns) for mine in by_label.values() if n < len(mine)][:count]


def replies(trial: Trial, name: str, policy: Path, judges: dict[str, ProbeReader], config: Config) -> list[Said]:
    """What a policy says after a prefix of every dialogue that is scored, and what is read in it."""
    file = trial.place / "replies" / f"{name}-{digest([d.id for d in trial.scored])}.jsonl.gz"
    if not file.is_file():
        corpus = trial.config.corpora[0].name
        cut = prefixes(trial.scored, config)
        rows = reply(trial.player(policy), cut, {corpus: SPACES[corpus]}, {corpus: judges[EMBEDDING]}, config)
        write(file, [Said(reply=r, by_words=_read(judges[TFIDF], r)) for r in rows])
    return [*read_records(file, Said)]


def _read(judge: ProbeReader, said: Reply) -> str | None:
    return judge.label([Utterance(speaker="-", text=said.reply)]) if said.reply else None


def kappas(rows: Sequence[Said]) -> tuple[float, float, float]:
    """How far replies are read back beyond chance: by the policy itself, by embedding and by words."""
    own = consistency([s.reply for s in rows])
    words = consistency([s.reply.model_copy(update={"judge": s.by_words}) for s in rows])
    return own["own_kappa"], own["judge_kappa"], words["judge_kappa"]


def gain(rows: Sequence[Said], before: Sequence[Said]) -> str:
    """Gain in kappa by embedding, with an interval over dialogues."""
    rng, found = np.random.default_rng(0), []
    for _ in range(1_000):
        drawn = rng.integers(len(rows), size=len(rows))
        found.append(kappas([rows[i] for i in drawn])[1] - kappas([before[i] for i in drawn])[1])
    low, high = np.quantile(found, (0.025, 0.975))
    return f"{kappas(rows)[1] - kappas(before)[1]:+.2f} [{low:+.2f}, {high:+.2f}]"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, nargs="+", default=[1])
    options.add_argument("--episodes", type=int, default=24, help="that are played, of two turns")
    options.add_argument("--real", type=int, default=41, help="real next turns that are learnt, about as many")
    options.add_argument("--epochs", type=int, default=2, help="passes over what is learnt")
    options.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    given = options.parse_args()
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}", flush=True)
    for seed in given.seeds:
        trial = Trial.meld(given, seed)
        learnt_by = {w: settings(seed, w, given.epochs) for w in given.ways}
        corpora, apart = corpora_of(trial.config), {d.id for d in (*trial.pool, *trial.scored)}
        taught = [d for d in corpora.training if d.id not in apart]
        judges = {name: ProbeReader(name, taught, seed) for name in (TFIDF, EMBEDDING)}
        warm, config = trial.warmed(), settings(seed, "one")
        before = replies(trial, "warm-up", warm, judges, config)
        rows = {"warm-up": before}
        for way, how in learnt_by.items():
            window = 0 if way == "unshared" else WINDOW
            count = given.real if way == "hindsight" else given.episodes
            made_of = [count, window, how.model_dump(mode="json")]
            policy = trial.place / "policies" / f"express-{way}-{digest(made_of)}"
            if not policy.is_dir():
                samples = (
                    real(trial, warm, given.real) if way == "hindsight" else sampled(trial, warm, how, given.episodes)
                )
                print(f"  {way}: {len(samples)} samples", flush=True)
                repeats.WINDOW = window
                trial.learnt(policy.name, warm, samples, how)
            rows[way] = replies(trial, policy.name, policy, judges, config)
        for name, mine in rows.items():
            found = consistency([s.reply for s in mine])
            meant = [s.reply.declared[0] for s in mine if s.reply.declared]
            shares = (np.mean([m == SPACES["meld"].neutral for m in meant]), found["own"], found["judge"])
            cells = [f"{value:.2f}" for value in (*shares, *kappas(mine))]
            cells += [gain(mine, before) if mine is not before else ""]
            (often, _), *_ = Counter(s.reply.reply for s in mine if s.reply.declared).most_common(1)
            cells += [f"{found['distinct_2']:.2f}", f"{found['most_frequent']:.2f}", f"{often!r}"]
            print(f"| {seed} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
