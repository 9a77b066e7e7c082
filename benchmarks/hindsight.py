"""Replies to learn from: sampled ones that one listener reads back, or two with different views; or real next turns.

python benchmarks/hindsight.py --place DIRECTORY [--corpus sample] [--replies 52] [--seed 1]

The policy after the warm-up replies to unlabelled prefixes, four times each. How many of the replies that are kept
express what they declare? Nobody labelled them, so another judge says it: logistic regression on words, or on sentence
embeddings, fitted on the gold of all dialogues that no prefix is of, and it is told how often that judge is right on
real turns. A real next turn in place of a reply is right where the recogniser reads its gold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from demo_gate import DEMO
from subjects import SPACES
from trial import Trial, parser, write

from selfemo import config as configuration
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.records import Record, read_records
from selfemo.data.seeds import seed_of
from selfemo.method.parsing import parse_expression
from selfemo.method.player import likeliest
from selfemo.method.reader import EMBEDDING, TFIDF, ProbeReader
from selfemo.method.selfplay import next_role
from selfemo.policy.engine import Sampling
from selfemo.steps.prepare import corpora_of

VIEWS = (24, 2, 1)
"""Most turns that a listener sees, the reply among them."""
CANDIDATES = 4


class ReadTurn(Record):
    """A reply, or a real turn, and what is read in it.

    Attributes:
        declared: ``E``; of a real turn its gold.
        text: What is said.
        readings: Posterior of each listener, by view.
    """

    declared: tuple[str, ...]
    text: str
    readings: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Cut:
    """A prefix, and what was really said after it."""

    before: Sequence[Utterance]
    turn: Utterance


def cuts(dialogues: Sequence[Dialogue], count: int, seed: int) -> list[Cut]:
    """One prefix of each dialogue, with the turn that follows."""
    found = []
    for d in sorted((d for d in dialogues if len(d.turns) > 2), key=lambda d: seed_of(seed, "hindsight", d.id))[:count]:
        at = 1 + seed_of(seed, "cut", d.id) % (len(d.turns) - 1)
        found.append(Cut(d.hidden().turns[:at], d.turns[at]))
    return found


def read_turns(trial: Trial, policy: Path, chosen: Sequence[Cut]) -> tuple[list[ReadTurn], list[ReadTurn]]:
    """Sampled replies and real turns, as every listener reads them."""
    player, space = trial.player(policy), SPACES[trial.config.corpora[0].name]
    roles = [next_role(c.before, [u.speaker for u in c.before]) for c in chosen]
    prompts = [player.prompter.expression(c.before, role, space) for c, role in zip(chosen, roles, strict=True)]
    room = Sampling(CANDIDATES, trial.config.selfplay.max_reply_tokens + player.prompter.room([space]))
    sampled = player.engine.sample(prompts, [seed_of(trial.config.seed, i) for i in range(len(chosen))], room)
    said: list[tuple[Sequence[Utterance], Utterance, tuple[str, ...]]] = []
    for cut, role, group in zip(chosen, roles, sampled, strict=True):
        for candidate in group:
            answer = parse_expression(candidate.text, space)
            if answer.parsed and answer.labels and answer.reply:
                said.append((cut.before, Utterance(speaker=role, text=answer.reply), answer.labels))
    real = [(c.before, Utterance(speaker=c.turn.speaker, text=c.turn.text), c.turn.gold or ()) for c in chosen]
    found: list[list[ReadTurn]] = []
    for rows in (said, real):
        read: dict[str, list[np.ndarray]] = {}
        for view in VIEWS:
            seen = [[*before, turn][-view:] for before, turn, _ in rows]
            read[str(view)] = player.read(seen, [space] * len(rows))
        found.append(
            [
                ReadTurn(declared=e, text=turn.text, readings={v: tuple(map(float, read[v][i])) for v in read})
                for i, (_, turn, e) in enumerate(rows)
            ]
        )
    return found[0], found[1]


def kept_in(trial: Trial) -> list[Path]:
    """Files of what was read in turns: sampled replies, and real turns."""
    return [trial.place / f"hindsight-{kind}.jsonl.gz" for kind in ("sampled", "real")]


def keep_read_turns(trial: Trial, policy: Path, count: int) -> None:
    """Write what a policy replies to so many prefixes, and what is read in that."""
    chosen = cuts(trial.pool, count, trial.config.seed)
    for file, rows in zip(kept_in(trial), read_turns(trial, policy, chosen), strict=True):
        write(file, rows)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--replies", type=int, default=52, help="prefixes that are replied to")
    options.add_argument("--corpus", default="meld", choices=("meld", "sample"), help="sample: the demo's policy")
    given = options.parse_args()
    demo = configuration.load(DEMO, [f"seed={given.seed}"])
    trial = Trial.meld(given, given.seed) if given.corpus == "meld" else Trial.sample(given.place, demo)
    if not all(f.is_file() for f in kept_in(trial)):
        keep_read_turns(trial, trial.warmed(), given.replies)
    sampled, real = ([*read_records(f, ReadTurn)] for f in kept_in(trial))
    space = SPACES[given.corpus]
    corpora, unseen = corpora_of(trial.config), {d.id for d in trial.pool}
    taught = [d for d in (*corpora.training, *corpora.held_out) if d.id not in unseen]
    judges = {name: ProbeReader(name, taught, given.seed) for name in (TFIDF, EMBEDDING)}

    def reads(row: ReadTurn, view: int) -> str:
        return likeliest(np.array(row.readings[str(view)]), space)[0]

    def judged(name: str, row: ReadTurn, label: str) -> bool:
        return judges[name].label([Utterance(speaker="-", text=row.text)]) == label

    print(f"\n{len(sampled)} sampled replies, {len(real)} real next turns\n")
    print("| what is learnt from | kept | of them neutral | judge by words reads E | by embedding | gold is E |")
    print("|---|---|---|---|---|---|")

    def line(title: str, rows: Sequence[tuple[ReadTurn, str]], whole: int, gold: bool = False) -> None:
        marks = [[judged(name, row, e) for row, e in rows] for name in judges]
        others = [i for i, (_, e) in enumerate(rows) if e != space.neutral]
        cells = [f"{np.mean(m):.2f} ({np.mean([m[i] for i in others]):.2f})" for m in marks]
        right = f"{np.mean([row.declared[:1] == (e,) for row, e in rows]):.2f}" if gold else ""
        shares = f"{len(rows) / whole:.2f} of {whole} | {1 - len(others) / len(rows):.2f}"
        print(f"| {title} | {shares} | {' | '.join(cells)} | {right} |")

    own = [(row, row.declared[0]) for row in sampled]
    line("sampled replies, all", own, len(sampled))
    for views in ((24,), (1,), (24, 2), (24, 1)):
        title = "sampled, read back by the listener of view " + " and ".join(map(str, views))
        line(title, [(row, e) for row, e in own if all(reads(row, v) == e for v in views)], len(sampled))
    line("real turns, E their gold (what the judges can do)", [(r, r.declared[0]) for r in real], len(real), True)
    line("real turns, E as view 24 reads", [(r, reads(r, 24)) for r in real], len(real), True)
    same = [(r, reads(r, 24)) for r in real if reads(r, 24) == reads(r, 1)]
    line("real turns, E where views 24 and 1 agree", same, len(real), True)


if __name__ == "__main__":
    main()
