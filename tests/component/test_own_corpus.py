"""A corpus of one's own, in Chinese and with 28 labels, through a round; its labels travel with all that is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from selfemo import config as configuration
from selfemo import steps
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.dialogue import Dialogue, Utterance, write_jsonl
from selfemo.data.label_file import read_spaces
from selfemo.loop import LoopState
from selfemo.serving.command import known_labels
from tests.conftest import SMALL

WORDS = """
平静 赞赏 好笑 生气 恼火 赞同 关心
困惑 好奇 渴望 失望 反对 厌恶 尴尬
兴奋 恐惧 感激 悲痛 快乐 爱 紧张
乐观 自豪 领悟 宽慰 懊悔 悲伤 惊讶
"""
LABELS = WORDS.split()


@pytest.fixture
def own(tiny: Path, tmp_path: Path, mlflow_file: str) -> Config:
    """Forty dialogues in which the label is said; the directory is gone once the configuration is read."""
    directory = tmp_path / "support"
    directory.mkdir()
    space = {"name": "support", "labels": LABELS, "neutral": "平静", "sets": [["快乐", "惊讶"]]}
    (directory / "labels.yaml").write_text(yaml.safe_dump(space, allow_unicode=True))
    write_jsonl(directory / "dialogues.jsonl", (_dialogue(i) for i in range(40)))
    uris = [f"store.root={(tmp_path / 'store').as_uri()}", f"mlflow.tracking_uri={mlflow_file}"]
    few = [
        "warmup.dialogues=12",
        "warmup.epochs=3",
        "selfplay.episodes=2",
        "selfplay.views=[4]",
        "evaluation.replies=2",
    ]
    few += ["evaluation.judge=characters", "grpo.replay=1", "corpora=[{name: support, path: support}]"]
    return configuration.load(
        None, [f"policy.base={tiny}", f"workdir={tmp_path / 'work'}", *SMALL, *uris, *few, "launch.shards=1"]
    )


def _dialogue(number: int) -> Dialogue:
    def turn(place: int) -> Utterance:
        label = LABELS[(3 * number + place) % len(LABELS)]
        gold = ("快乐", "惊讶") if number % 10 == 0 and place == 0 else (label,)
        return Utterance(
            speaker="客户客服"[2 * (place % 2) :][:2], text=f"我觉得{label}，第{number}号{place}。", gold=gold
        )

    split = "dev" if number % 4 == 0 else "train"
    return Dialogue(id=f"{split}/{number}", corpus="support", split=split, turns=tuple(turn(p) for p in range(3)))


def test_labels_travel_with_everything_that_is_made(own: Config, tmp_path: Path) -> None:
    prepared = steps.prepare(own).uri
    shutil.rmtree(tmp_path / "support")  # no pod has it
    there = Config.from_json(own.to_json())
    context = Context(there)
    first = steps.warmup(there, prepared).uri
    scores = steps.evaluation(there, first, prepared, 0)
    state, _ = steps.decide(there, LoopState(), first, scores.uri, 0)
    samples = steps.filter(there, steps.self_play(there, first, prepared, 1).uri, 1)
    challenger = steps.train(there, first, samples.uri, prepared, 1).uri
    after = steps.evaluation(there, challenger, prepared, 1)
    _, record = steps.decide(there, state, challenger, after.uri, 1)

    for made in (prepared, first, challenger, scores.uri, after.uri):
        spaces = read_spaces(context.store.fetch(made) / "labels.json")
        assert spaces["support"].labels == tuple(LABELS)
        assert spaces["support"].answers[-1] == ("快乐", "惊讶")
    stranger = configuration.load(None, [f"store.root={there.store.root}", f"workdir={tmp_path / 'elsewhere'}"])
    found = Context(stranger).policies.find(challenger)
    assert (
        known_labels(stranger, found)[1] == "support"
    )  # served with the defaults, by a machine that never saw the corpus
    metrics = json.loads((context.store.fetch(after.uri) / "metrics.json").read_text())
    assert metrics["support"]["labels"] == LABELS
    logged = context.registry.client.get_run(context.registry.round(1)).data.metrics
    assert "eval/support/f1/快乐" in logged
    client, of_round = context.registry.client, context.registry.round(1)
    card = Path(client.download_artifacts(of_round, "card.md", str(tmp_path))).read_text()
    assert "`support`" in card
    assert "English" not in card
    assert context.store.manifest(record) is not None
