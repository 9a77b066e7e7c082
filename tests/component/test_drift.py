"""``selfemo drift`` on a champion that a run made, with what was collected from its server."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selfemo.cli import main
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.corrections import Reading, collected_id
from selfemo.data.dialogue import Dialogue, Utterance, read_jsonl
from selfemo.data.feedback import Feedback
from selfemo.data.records import Prediction, read_records
from tests.component import plain
from tests.spaces import SPACES

SPACE = SPACES["sample"]


@pytest.fixture
def champion(small_local: Config, tmp_path: Path) -> Config:
    """A run's configuration, whose warm-up is champion and was judged on 24 dialogues."""
    data = small_local.model_dump(mode="json")
    data["warmup"] |= {"dialogues": 4, "epochs": 1}
    data["evaluation"] |= {"dialogues": 24, "replies": 0}
    data["feedback"] = {"path": str(tmp_path / "came back")}
    config = Config.model_validate(data)
    text = config.to_json()
    prepared = plain.prepare(text)
    first = plain.warmup(text, prepared)
    assert plain.decide(text, "", "", 0, first, plain.scores(text, first, prepared, 0), 0)[0] == first
    return config


def collected(config: Config, digest: str, label: str | None, days_ago: int = 0) -> None:
    """The held-out dialogues come to the server again; each turn is read as then, or with one label for all."""
    place = Feedback.at(str(config.feedback.path))
    context = Context(config)
    version = context.registry.versions.named(f"models:/{config.mlflow.model}@champion")
    scores = str(version.tags["selfemo.scores"])
    rows = list(read_records(context.store.fetch(scores) / "predictions.jsonl.gz", Prediction))
    manifest = context.store.manifest(scores)
    assert manifest
    held_out = {d.id: d for d in read_jsonl(context.store.fetch(manifest.inputs["prepared"]) / "held_out.jsonl")}
    when = datetime.now(UTC) - timedelta(days=days_ago)
    readings, conversations = [], {}
    for row in rows:
        said = held_out[row.dialogue]
        turns = tuple(Utterance(speaker=t.speaker, text=t.text) for t in said.turns)
        name = collected_id("sample", said.id.replace("/", "-"))
        conversations[name] = Dialogue(id=name, corpus="sample", split="train", turns=turns)
        best = row.posterior.index(max(row.posterior))
        read = SPACE.answers[best][0] if label is None else label
        chances = dict.fromkeys(SPACE.labels, 0.0) | {read: 1.0}
        readings.append(
            Reading(dialogue=name, turn=row.turn, labels=(read,), chances=chances, when=when, digest=digest)
        )
    place.add_conversations(list(conversations.values()), when)
    place.add_readings(readings, when)


def test_what_the_champion_reads_is_held_against_what_it_was_judged_on(champion: Config, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(champion.to_json())

    def told(*more: str) -> Result:
        arguments = ["drift", "--config", str(file), *more]
        return CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments, catch_exceptions=False)

    nothing = told()
    assert nothing.exit_code == 0, nothing.output
    assert "fewer than 20 dialogues" in nothing.output
    digest = Context(champion).policies.find(f"models:/{champion.mlflow.model}@champion").digest
    collected(champion, "of-other-weights", "joy")
    collected(champion, digest, "joy", days_ago=30)
    collected(champion, digest, None)
    found = json.loads(told("--json", "--fail").output)
    by_name = {m["name"]: m for m in found["measures"]}
    assert by_name["labels"]["drifted"] is by_name["words"]["drifted"] is False
    assert by_name["words"]["psi"] == 0  # the same dialogues, whole
    assert by_name["labels"]["served"] == 24
    assert found["of_other_weights"] > 0
    later = told("--days", "60", "--bound", "0.1", "--json")  # the newest reading of a turn counts: nothing changes
    assert json.loads(later.output)["measures"][0]["drifted"] is False
    place = Feedback.at(str(champion.feedback.path))
    for piece in place.pieces("readings"):
        place.backend.remove(piece.uri)
    unusual = min(SPACE.labels, key=[m[0] for m in by_name["labels"]["moved"]].count)
    collected(champion, digest, unusual)
    drifted = told("--fail")
    assert drifted.exit_code == 1
    assert "drifted: labels" in drifted.output
    assert "selfemo submit --config FILE --cycle" in drifted.output
    assert told().exit_code == 0


def test_what_was_never_judged_has_nothing_to_be_held_against(small_local: Config, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(small_local.to_json())
    done = CliRunner().invoke(main, ["drift", "--config", str(file), "--place", "x", "--policy", str(tiny)])
    assert done.exit_code == 2
    assert f"{tiny}: no evaluation of it is known" in done.output
