"""Runs with the records that their steps leave: data, scores and decisions are the steps' own, answers are made up."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from selfemo import config as configuration
from selfemo import steps
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.dialogue import Dialogue, read_jsonl
from selfemo.data.records import Prediction, write_records
from selfemo.loop import LoopState
from selfemo.method.evaluation import PREDICTIONS
from selfemo.steps.evaluate import REPLIES
from tests.spaces import SPACES


class Made:
    """A store in a directory, MLflow in a file, and runs in both."""

    def __init__(self, folder: Path, mlflow: str) -> None:
        self.folder = folder
        self.settings = [
            f"workdir={folder / 'work'}",
            f"store.root={(folder / 'store').as_uri()}",
            f"mlflow.tracking_uri={mlflow}",
            "evaluation.bootstrap=100",
        ]

    def config(self, run: str, *settings: str) -> Config:
        return configuration.load(None, [f"run={run}", *self.settings, *settings])

    def run(self, name: str, right: Sequence[float], *settings: str) -> Config:
        """A run of rounds 0 to n: of the held-out turns each round's policy reads such a share right."""
        config = self.config(name, *settings)
        context, state = Context(config), LoopState()
        prepared = steps.prepare(config).uri
        held_out = list(read_jsonl(context.store.fetch(prepared) / "held_out.jsonl"))[:26]  # a small gain may be chance
        for round, share in enumerate(right):
            policy = self.put(context, round, "train" if round else "warmup", {"prepared": prepared, "share": share})
            shard = self.put(context, round, "evaluate", {"policy": policy}, list(answers(held_out, share)))
            scores = steps.score(config, [shard], policy, prepared, round).uri
            state, _ = steps.decide(config, state, policy, scores, round)
        return config

    def put(
        self, context: Context, round: int, step: str, inputs: dict[str, object], rows: Sequence[Prediction] = ()
    ) -> str:
        """URI of an artifact of a step."""
        uri = context.uri(step, round, inputs)
        out = self.folder / "out" / uri.rsplit("/", 1)[1]
        out.mkdir(parents=True)
        (out / "config.json").write_text(uri)
        for name in (PREDICTIONS, REPLIES) if rows else ():
            write_records(out / name, rows if name == PREDICTIONS else [])
        context.store.publish(out, uri, step=step, inputs=inputs, result={"shard": 0, "of": 1, "seconds": 30.0})
        return uri


def answers(dialogues: Sequence[Dialogue], share: float) -> Iterator[Prediction]:
    """Answers to every gold turn; what is right with a smaller share is right with a larger one."""
    drawn, space = random.Random(7), SPACES["sample"]
    wrong = space.labels[-1]
    for dialogue in dialogues:
        for number, turn in enumerate(dialogue.turns):
            if not turn.gold:
                continue
            said = tuple(turn.gold) if drawn.random() < share else (wrong,)
            posterior = tuple(0.9 if answer == said else 0.1 / len(space.answers) for answer in space.answers)
            yield Prediction(
                corpus=dialogue.corpus,
                dialogue=dialogue.id,
                turn=number,
                gold=turn.gold,
                predicted=said,
                posterior=posterior,
            )
