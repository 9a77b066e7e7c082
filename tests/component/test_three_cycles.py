"""Three nights of a schedule, with conversations and corrections coming in between: a flywheel that turns on what is
served."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.dialogue import Dialogue, Utterance, read_jsonl
from selfemo.data.feedback import Correction, Feedback, collected_id
from selfemo.data.join import is_held_out
from selfemo.registry.versions import CHAMPION
from selfemo.steps.feedback import holders
from tests.component import plain
from tests.conftest import there


@pytest.fixture
def nightly(small_local: Config, tmp_path: Path) -> Config:
    """A schedule's configuration: each night from the champion, through a gate without a test, on what came back."""
    data = small_local.model_dump(mode="json")
    data["policy"]["start"] = f"models:/{data['mlflow']['model']}@{CHAMPION}"
    data["feedback"] = {"path": str(tmp_path / "came back"), "held_out": 0.5}
    data["warmup"] |= {"dialogues": 4, "epochs": 1}
    data["selfplay"] |= {"episodes": 1, "turns": 1, "corpus_dialogues": 2}
    data["evaluation"] |= {"dialogues": 2, "replies": 0}
    data["gate"] = {"min_gain": -1, "max_drop": 1}
    data["loop"]["rounds"] = 1
    data["flywheel"] |= {"tau_reward": 0, "tau_low": 0}
    return Config.model_validate(data)


@dataclass
class Night:
    """What a cycle came to."""

    config: Config
    data: str
    first: str
    champion: str
    decision: dict[str, Any]


def cycle(nightly: Config, when: str) -> Night:
    """A scheduled run, as the pipeline chains it."""
    text, data, _ = plain.prepare_cycle(nightly.to_json(), "scheduled", when)
    config = Config.from_json(text)
    first = plain.warmup(text, data)
    state = plain.decide(text, "", "", 0, first, plain.scores(text, first, data, 0), 0)
    if state[3]:
        samples = plain.samples(text, plain.rollouts(text, state[0], data, 1), 1)
        challenger = plain.train(text, state[0], samples, data, 1)
        plain.decide(text, state[0], state[1], state[2], challenger, plain.scores(text, challenger, data, 1), 1)
    registry = Context(config).registry
    registry.finish(registry.parent)
    made = json.loads(registry.client.get_run(registry.parent).data.tags["selfemo.decisions"])
    decision = Context(config).store.manifest(made[-1])
    champion = registry.versions.alias(CHAMPION)
    assert decision is not None and champion is not None
    return Night(config, data, first, str(champion.source), dict(decision.result))


def came_in(nightly: Config, night: int, labels: tuple[str, ...] = ("joy",)) -> list[str]:
    """A day's conversations, of which all but two are corrected; ids of these."""
    place, day = Feedback.at(str(nightly.feedback.path)), datetime(2026, 11, night, 12, tzinfo=UTC)
    said = [
        Dialogue(
            id=collected_id("sample", f"{night}-{n}"),
            corpus="sample",
            split="train",
            turns=(
                Utterance(speaker="A", text=f"What was it like on day {night} with guest {n}?"),
                Utterance(speaker="B", text=f"Guest {n} was a delight on day {night}, honestly."),
            ),
        )
        for n in range(6)
    ]
    place.add_conversations(said, day)
    ids = [d.id for d in said[2:]]
    place.add_corrections(
        [Correction(dialogue=i, turn=1, labels=labels, who="ada", when=day, source="feedback") for i in ids], day
    )
    return ids


def read(night: Night) -> tuple[list[Dialogue], set[str], list[Dialogue]]:
    """Training, what of it is gold, and what is held out."""
    data = Context(night.config).store.fetch(night.data)
    training = list(read_jsonl(data / "training.jsonl"))
    gold = set(json.loads((data / "warmup.json").read_text()))
    return training, gold, list(read_jsonl(data / "corrected.jsonl"))


def test_three_nights_turn_on_what_came_in_between(nightly: Config) -> None:
    corrected = came_in(nightly, 1)
    first = cycle(nightly, "2026-11-02T03:00:00Z")
    corrected += came_in(nightly, 2)
    second = cycle(nightly, "2026-11-03T03:00:00Z")
    corrected += came_in(nightly, 3)
    third = cycle(nightly, "2026-11-04T03:00:00Z")
    nights = [first, second, third]

    assert len({night.config.run for night in nights}) == len({night.config.seed for night in nights}) == 3
    store = Context(nightly).store
    starts = [there(store.manifest(night.data)).result["start"] for night in nights]
    assert starts == ["", first.champion, second.champion] and len({*starts, third.champion}) == 4

    came = [read(night) for night in nights]
    pools = [{d.id for d in training} for training, _, _ in came]
    assert pools[0] < pools[1] < pools[2]
    assert came[0][1] < came[1][1] < came[2][1]
    assert [len(apart) for _, _, apart in came] == sorted({len(apart) for _, _, apart in came})
    for training, gold, apart in came:
        learnt = {u.text for d in training for u in d.turns}
        assert not learnt & {u.text for d in apart for u in d.turns}
        assert {d.id for d in training if d.id in gold and d.id.split("/")[1] == "collected"} <= set(corrected)
    everybody = set.union(*pools)
    assert not everybody & {d.id for _, _, apart in came for d in apart}  # in no cycle, whichever comes later
    held_out = [(store.fetch(night.data) / "held_out.jsonl").read_bytes() for night in nights]
    assert held_out[0] == held_out[1] == held_out[2]

    judged = len(came[2][2])
    assert third.decision["gains"]["sample, corrected"]["dialogues"] == judged
    assert "corrected dialogues of sample decide nothing" in second.decision["reason"]

    came_in(nightly, 4, ("anger",))  # what comes in later does not change what a cycle read
    again = cycle(nightly, "2026-11-03T03:00:00Z")
    assert again == Night(second.config, second.data, second.first, third.champion, second.decision)

    fourth = cycle(nightly, "2026-11-05T03:00:00Z")
    assert len(read(fourth)[2]) > judged and fourth.config.loop.rounds == 1
    fifth = cycle(nightly, "2026-11-06T03:00:00Z")
    said = store.manifest(fifth.data)
    assert said is not None and "nothing came since the last cycle" in said.result["idle"]
    assert fifth.config.loop.rounds == 0 and fifth.first != fifth.champion == fourth.champion
    assert not list(Path(store.root.removeprefix("file://")).glob(f"{fifth.config.run}/*/gather-*"))
    assert holders(Context(nightly), {corrected[0]}) == sorted(n.config.run for n in (*nights, fourth, fifth))
    assert holders(Context(nightly), {"sample/collected/nobody"}) == []
    assert is_held_out(came[2][2][0].id, nightly.feedback.held_out, nightly.seed)
