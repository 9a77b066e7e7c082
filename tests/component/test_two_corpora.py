"""Two corpora through a run to the gate: the configuration's first decides, whatever its place in the alphabet."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from selfemo import steps
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.dialogue import read_jsonl
from selfemo.data.records import Scored, read_records
from selfemo.errors import UserError
from selfemo.loop import LoopState
from tests.unit.corpora.meld import MELD_HEADER


@pytest.fixture
def two(small_local: Config, tmp_path: Path) -> Config:
    """The sample corpus before MELD, of which there are twelve dialogues; scored on sixteen kept from both."""
    folder = tmp_path / "meld"
    folder.mkdir()
    for split in ("train", "dev"):
        labels = ("joy", "anger")
        lines = (f'{i},"Number {i} of {split} is no copy.",Ross,{labels[i % 2]},x,{i},0,1,1,a,b' for i in range(12))
        (folder / f"{split}_sent_emo.csv").write_text(MELD_HEADER + "\r\n".join(lines) + "\r\n")
    data = small_local.model_dump(mode="json")
    data["corpora"] = [{"name": "sample"}, {"name": "meld", "path": str(folder)}]
    data["evaluation"] |= {"replies": 2}
    data["warmup"] |= {"dialogues": 24, "selection": 16, "epochs": 0}
    return Config.model_validate(data)


def test_the_gate_needs_dialogues_and_a_policy_that_is_scored_alone_does_not(two: Config) -> None:
    """What has no gate is not refused for it: the same settings score a policy on two dialogues of each corpus."""
    data = two.model_dump(mode="json")
    data["evaluation"]["dialogues"] = 2
    few = Config.model_validate(data)
    with pytest.raises(UserError, match="the gate needs 8 to decide on"):
        steps.prepare(few)
    data["loop"]["rounds"] = 0
    assert steps.prepare(Config.model_validate(data)).result["held_out_dialogues"]


def test_a_gate_that_is_opened_divides_anew(two: Config) -> None:
    """An open gate needs one dialogue of each corpus, a closed one eight: so the division is another."""
    data = two.model_dump(mode="json")
    data["gate"]["min_gain"] = -1
    assert steps.prepare(Config.model_validate(data)).uri != steps.prepare(two).uri


def test_the_first_corpus_decides_and_every_figure_names_it(two: Config, tmp_path: Path) -> None:
    context = Context(two)
    prepared = steps.prepare(two).uri
    held_out = list(read_jsonl(context.store.fetch(prepared) / "held_out.jsonl"))
    assert [d.corpus for d in held_out] == ["sample"] * 8 + ["meld"] * 8
    first = steps.warmup(two, prepared).uri
    scores = steps.evaluation(two, first, prepared, 0)
    state, _ = steps.decide(two, LoopState(), first, scores.uri, 0)

    files = context.store.fetch(scores.uri)
    assert scores.result["weighted_f1"] == json.loads((files / "metrics.json").read_text())["sample"]["weighted_f1"]
    assert {r.corpus for r in read_records(files / "predictions.jsonl.gz", Scored)} == {"sample", "meld"}
    second = context.store.uri("another")  # weights alike: no gain, on either
    context.store.publish(
        context.store.fetch(context.policies.find(first).uri), second, step="train", result={"seconds": 1.0}
    )
    after, record = steps.decide(two, state, second, steps.evaluation(two, second, prepared, 1).uri, 1)

    assert after.policy == context.policies.find(first).uri
    decision = context.store.manifest(record)
    assert decision is not None
    assert set(decision.result["gains"]) == {"sample", "meld"}
    assert decision.result["reason"].startswith("gain on sample +0.000")
    version = context.registry.versions.get("2")
    assert version.tags["selfemo.gate_p"] == "1.0000"
    card = context.registry.client.download_artifacts(context.registry.round(1), "card.md", str(tmp_path))
    text = Path(card).read_text()
    named = {metric["name"] for metric in yaml.safe_load(text.split("---\n")[1])["metrics"]}
    assert "weighted_f1 on sample train, labelled dialogues kept for selection" in named
    assert re.search(r"\| sample \| [a-zF1 ]+ \| \+0\.000 \[\+0\.000, \+0\.000\] \| 1\.0000 \| 8 \|", text)
    assert "sample is the gate corpus" in text
