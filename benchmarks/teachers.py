"""What a round could learn: how far each teacher is right in the turns whose labels nobody sees, before anybody learns.

python benchmarks/teachers.py --place DIRECTORY --try 32/1,2,3 [--pool 150] [--responder]

Of the warm-ups that `rounds.py` made there. The first row is what the policy itself answers, so the others' gains over
it are what a student that became its teacher would gain. The responder takes four times what a
view does, so it is asked only where that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rounds import Asked, smaller
from rounds_jobs import settings
from rounds_variants import VARIANTS
from scipy.sparse import vstack
from sklearn.linear_model import LogisticRegression
from subjects import SPACES
from trial import Trial, parser
from trial_table import table

from selfemo.config import Config
from selfemo.data.dialogue import Dialogue, gold_counts
from selfemo.data.records import Prediction, Rollout
from selfemo.method.evaluation import scored
from selfemo.method.flywheel.readings import Readings, gold_of, read
from selfemo.method.probabilities import fitted_temperature, scaled
from selfemo.method.rewards import Floats, label_shift_weights, marginals, reweighted
from selfemo.method.voices import BELIEFS, RECOGNISER, RESPONDER, WORDS, fit_weights, pool
from selfemo.method.words import bag_of_words

FOLDS = 5
LEAST = 0.01
"""A label less likely than that is none that a bag of words learns."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--try", dest="asked", required=True, metavar="BUDGET/SEEDS")
    options.add_argument("--pool", type=int, help="only so many unlabelled dialogues")
    options.add_argument("--responder", action="store_true", help="ask it as well")
    given = options.parse_args()
    try:
        asked = Asked.of(f"{given.asked}/own")
    except ValueError as error:
        options.error(f"--try: {error}")
    answers: dict[str, dict[int, list[Prediction]]] = {}
    dialogues: dict[str, Dialogue] = {}
    for case in asked.cases:
        mine = smaller(case.trial(given), given.pool)
        dialogues |= {d.id: d for d in mine.pool}
        for name, rows in taught(mine, settings(case, VARIANTS["responder" if given.responder else "own"])):
            answers.setdefault(name, {})[case.seed] = rows
    first, *others = answers
    title = f"{given.asked.split('/')[0]} labelled, seeds {[c.seed for c in asked.cases]}"
    whose = {"whose labels nobody sees": list(dialogues.values())}
    table(title, answers, whose, dict.fromkeys(others, first), mine.config)


def taught(mine: Trial, config: Config) -> Iterator[tuple[str, list[Prediction]]]:
    """Teachers by name, with what each says of all turns that nobody labelled."""
    rows = mine.read("warm-up", mine.place / "policies" / "warm-up", mine.pool, config)
    ours, kept = [r for r in rows if not r.held_out], [r for r in rows if r.held_out]
    space = SPACES[ours[0].corpus]
    of_all = read(ours, kept, space)
    found = read(_without(ours, RESPONDER), _without(kept, RESPONDER), space)
    for view in map(str, config.selfplay.views):
        yield f"recogniser, at most {view} turns", said(mine, ours, np.array([r.posteriors[view] for r in ours]))
    yield "recogniser, mean of the views", said(mine, ours, found.voices[RECOGNISER])
    yield "bag of words", said(mine, ours, found.voices[WORDS])
    yield "both, weights fitted", said(mine, ours, found.pooled_NA)
    if RESPONDER in of_all.voices:
        no_words = read(_without(ours, WORDS), _without(kept, WORDS), space)
        yield "responder", said(mine, ours, of_all.voices[RESPONDER])
        yield "recogniser and responder, weights fitted", said(mine, ours, no_words.pooled_NA)
        yield "all three, weights fitted", said(mine, ours, of_all.pooled_NA)
        print({name: round(weight, 2) for name, weight in of_all.weights.items()}, flush=True)
    counts = gold_counts(mine.labelled)[space.name]
    known = [counts.get(label, 0) for label in space.labels]
    for power in (config.flywheel.calibration, 1.0):
        shifts_m = label_shift_weights(marginals(found.pooled_NA, space.answer_masks, len(space)), known, power)
        shifted_NA = reweighted(found.pooled_NA, space.answer_masks, shifts_m)
        yield f"both, calibrated, power {power:g}", said(mine, ours, shifted_NA)
    voices = {name: found.voices[name] for name in (RECOGNISER, WORDS)}
    believed = {name: BELIEFS[name] for name in voices}
    sharp_NA = pool(voices, believed)
    of_kept = read(kept, [], space).voices
    kept_NA = pool({name: of_kept[name] for name in voices}, believed)
    temperature = fitted_temperature(kept_NA, gold_of(kept, space))
    yield "both, as believed, one temperature fitted", said(mine, ours, scaled(sharp_NA, temperature))
    power = config.flywheel.calibration
    shifts_m = label_shift_weights(marginals(sharp_NA, space.answer_masks, len(space)), known, power)
    shifted_NA = scaled(reweighted(sharp_NA, space.answer_masks, shifts_m), temperature)
    yield f"the same, calibrated before that, power {power:g}", said(mine, ours, shifted_NA)
    best = fit_weights(voices, gold_of(ours, space))
    yield "both, weights fitted on these very turns' labels", said(mine, ours, pool(voices, best))
    yield "both, words learnt from the pool as well", said(mine, ours, cotrained(mine, ours, kept, found))


def cotrained(mine: Trial, ours: Sequence[Rollout], kept: Sequence[Rollout], found: Readings) -> Floats:
    """The pool ``(N, A)`` once the bag of words has learnt what the pool says of other dialogues (co-training)."""
    space, folds_N = SPACES[ours[0].corpus], np.unique([r.dialogue for r in ours], return_inverse=True)[1] % FOLDS
    features = bag_of_words()
    turns = [(u.text, space.index[u.gold[0]]) for d in mine.labelled for u in d.turns if u.gold]
    features.fit([text for text, _ in turns] + [_text(r) for r in ours])
    gold, labels = features.transform([text for text, _ in turns]), [label for _, label in turns]
    mine_N, kept_N = (features.transform([_text(r) for r in some]) for some in (ours, kept))
    count = len(space.answers)

    def learnt(rows: NDArray[np.bool_], asked: Any) -> Floats:
        chances_NA = found.pooled_NA[rows]
        weights = np.concatenate([chances_NA.T.ravel(), np.ones(len(labels))])
        targets = np.concatenate([np.repeat(np.arange(count), rows.sum()), labels])
        much = weights > LEAST
        model = LogisticRegression(C=4.0, max_iter=1000)
        model.fit(vstack([*[mine_N[rows]] * count, gold])[much], targets[much], sample_weight=weights[much])
        chances = np.full((asked.shape[0], count), 1 / len(turns))
        chances[:, model.classes_] += model.predict_proba(asked)
        return np.asarray(chances / chances.sum(1, keepdims=True))

    words = np.zeros_like(found.pooled_NA)
    for fold in range(FOLDS):
        words[folds_N == fold] = learnt(folds_N != fold, mine_N[folds_N == fold])
    every = np.ones(len(ours), dtype=bool)
    before = read(kept, [], space).voices[RECOGNISER]
    weights = fit_weights({RECOGNISER: before, WORDS: learnt(every, kept_N)}, gold_of(kept, space))
    return pool({RECOGNISER: found.voices[RECOGNISER], WORDS: words}, weights)


def said(mine: Trial, ours: Sequence[Rollout], chances_NA: Floats) -> list[Prediction]:
    """A teacher's answers."""
    dialogues = {d.id: d for d in mine.pool}
    turns = [(dialogues[r.dialogue], int(r.id.rpartition("/")[2])) for r in ours if r.gold]
    return [scored(d, t, SPACES[d.corpus], row_A) for (d, t), row_A in zip(turns, chances_NA, strict=True)]


def _without(rows: Sequence[Rollout], voice: str) -> list[Rollout]:
    return [r.model_copy(update={"posteriors": {k: p for k, p in r.posteriors.items() if k != voice}}) for r in rows]


def _text(row: Rollout) -> str:
    return row.history[-1].text


if __name__ == "__main__":
    main()
