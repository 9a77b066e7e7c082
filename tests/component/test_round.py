"""A round by the components' plain functions, and what the user interface is shown of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from components.report.component import report
from selfemo import steps
from selfemo.cli import main
from selfemo.config import Config
from selfemo.config.platform import CorpusSettings
from selfemo.context import Context
from selfemo.data.dialogue import Dialogue, write_jsonl
from selfemo.data.label_file import LabelFile
from tests.component import plain
from tests.conftest import local_of, there


@dataclass
class Rounds:
    """The warm-up and a round: what each step and decision gave, and what Kubeflow was told last."""

    config: Config
    text: str
    data: str
    policy: str
    samples: str
    challenger: str
    decided: Any
    told: dict[str, Any]


@pytest.fixture(scope="module")
def made(
    tiny: Path, dialogues: list[Dialogue], empty_mlflow: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rounds]:
    """A round that sees its whole pool, of a corpus that is small, once for all that look at it."""
    place = tmp_path_factory.mktemp("rounds")
    (place / "mlflow.db").write_bytes(empty_mlflow)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)  # MLflow without a server puts artifacts there
        config = local_of(tiny, place, f"sqlite:///{place / 'mlflow.db'}")
        play = config.selfplay.model_copy(update={"corpus_dialogues": 1000})
        grpo = config.grpo.model_copy(update={"replay": 1})
        labels = yaml.safe_load((files("selfemo.data") / "spaces" / "sample.yaml").read_text())
        corpora = (
            CorpusSettings(name="few", path=few(dialogues, place / "few"), labels=LabelFile.model_validate(labels)),
        )
        replaying = config.model_copy(update={"grpo": grpo, "selfplay": play, "corpora": corpora})
        text = replaying.to_json()
        data = plain.prepare(text)
        policy = plain.warmup(text, data)
        scores = plain.scores(text, policy, data, 0)
        first = plain.decide(text, "", "", 0, policy, scores, 0)
        assert tuple(first) == (policy, scores, 0, True)
        samples = plain.samples(text, plain.rollouts(text, policy, data, 1), 1)
        challenger = plain.train(text, policy, samples, data, 1)
        after = plain.decide(text, policy, scores, 0, challenger, plain.scores(text, challenger, data, 1), 1)
        yield Rounds(replaying, text, data, policy, samples, challenger, after, dict(plain.SHOWN))


def few(dialogues: list[Dialogue], directory: Path) -> str:
    """A corpus of one's own: 12 of the sample's dialogues to warm up on and ten for the pool, and those held out."""
    directory.mkdir()
    train = [d for d in dialogues if d.split == "train"][: 12 + 10]
    kept = train + [d for d in dialogues if d.split != "train"]
    write_jsonl(directory / "dialogues.jsonl", kept)
    return str(directory)


def test_the_plain_functions_make_a_round(made: Rounds) -> None:
    assert made.challenger != made.policy
    history = json.loads((Context(made.config).store.fetch(made.challenger) / "training.json").read_text())
    assert history and all("replay_loss" in row for row in history)
    champion, _, misses, go_on = made.decided
    assert (champion, misses) in ((made.policy, 1), (made.challenger, 0))
    assert go_on is True


def test_the_next_round_knows_what_the_policy_was_taught(made: Rounds, tmp_path: Path) -> None:
    """It was taught other labels of three turns than this round finds: the small policy would say the same again."""
    store = Context(made.config).store
    taught = there(store.manifest(made.samples))
    shutil.copytree(store.fetch(made.samples), tmp_path / "taught")
    before = json.loads((tmp_path / "taught" / "targets.json").read_text())
    before |= dict.fromkeys(list(before)[:3], "joy" if set(before.values()) == {"neutral"} else "neutral")
    (tmp_path / "taught" / "targets.json").write_text(json.dumps(before))
    samples = store.publish_by_content(
        tmp_path / "taught", "taught", step="filter", inputs=taught.inputs, result=taught.result
    )
    challenger = plain.train(made.text, made.policy, samples, made.data, 1)
    again = plain.samples(made.text, plain.rollouts(made.text, challenger, made.data, 2), 2)
    now = json.loads((store.fetch(again) / "targets.json").read_text())
    told = json.loads((store.fetch(again) / "filter.json").read_text())
    assert told["metrics"]["seen_again"] == len(before)
    assert before.keys() == now.keys()
    assert sum(told["flips"].values()) == sum(label != now[turn] for turn, label in before.items()) >= 3


def test_a_run_that_failed_has_a_page_which_can_be_written_again_by_its_name(made: Rounds) -> None:
    config = made.config
    report.python_func(made.text, "", "", SimpleNamespace(state="FAILED", error_message="<b>it broke</b>"))
    page = (Path(config.workdir) / "runs" / config.run / "report.html").read_text()
    assert "&lt;b&gt;it broke&lt;/b&gt;" in page
    assert "Round 1" in page
    Path("run.yaml").write_text(config.to_json())  # JSON is YAML
    given = ["--config", "run.yaml", "--out", "again.html", "--json"]
    done = CliRunner().invoke(main, ["report", config.run, *given, "--set", "run=another"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"run": config.run, "status": "FAILED", "rounds": 2, "report": "again.html"}
    first = (Path(config.workdir) / "runs" / config.run / "report.html").read_text()
    assert Path("again.html").read_text() == first
    wrong = CliRunner().invoke(main, ["report", "nothing", *given])
    assert wrong.exit_code == 2
    assert config.run in wrong.output


def test_rollouts_of_a_policy_that_is_no_artifact_are_filtered_too(small_local: Config, tiny: Path) -> None:
    text = small_local.to_json()
    data = plain.prepare(text)
    samples = steps.filter(small_local, steps.self_play(small_local, str(tiny), data, 1).uri, 1)
    assert samples.manifest.result["seen_again"] == 0


def test_the_user_interface_is_told_what_there_is_to_see(made: Rounds) -> None:
    told, store, samples, challenger = made.told, Context(made.config).store, made.samples, made.challenger
    for name, uri, counts in (
        ("filter/rollouts", there(store.manifest(samples)).inputs["rollouts"], {"rollouts"}),
        ("filter/dataset", samples, {"samples"}),
        ("train/model", challenger, {"samples", "steps"}),
    ):
        shown = told[name]
        manifest = store.manifest(uri)
        assert manifest is not None
        assert (shown.metadata["store_uri"], shown.metadata["sha256"]) == (uri, manifest.digest)
        assert (shown.metadata["round"], shown.metadata["base_model"]) == (1, made.config.policy.base)
        assert counts <= set(shown.metadata)
        assert json.loads(Path(shown.path).read_text()) == shown.metadata  # small: the data stay in the store
    assert 0 <= told["decide/metrics"].metadata["weighted_f1"] <= 1
    assert told["filter/metrics"].metadata["candidates"] > 0
    rounds = [told[name].metadata["round"] for name in ("filter/metrics", "decide/metrics", "decide/page.html")]
    assert rounds == [1, 1, 1]  # Kubeflow lays rounds side by side, under one name
    rows = told["decide/confusion"].metadata["confusionMatrix"]["rows"]
    assert sum(sum(r["row"]) for r in rows) == told["decide/metrics"].metadata["turns"]
    summary = Path(told["decide/summary.md"].path).read_text()
    assert summary.startswith("## Round 1: ") and "| weighted F1 [95 %] |" in summary
    page = Path(told["decide/page.html"].path).read_text()
    for what in (
        "Training curves",
        "Label mix",
        "Candidates by what became of them",
        "Rejected",
        "Sets of labels",
        "Reliability",
        "<svg",
    ):
        assert what in page
    assert len(page) < 2_000_000
    assert not re.search(r"<script|src=\"(?!data:)|href=|url\((?!#)", page)  # self-contained, nothing runs

    registry = Context(made.config).registry
    version = next(v for v in registry.client.search_model_versions("name='self-emo'") if v.source == challenger)
    card = (store.backend(challenger).read(f"{challenger}/README.md") or b"").decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["base_model"]) == ("unknown", made.config.policy.base)
    assert front["metrics"][1]["name"] == "weighted_f1 on few dev"
    assert front["metrics"][1]["value"] == round(told["decide/metrics"].metadata["weighted_f1"], 4)
    for what in (
        f"version {version.version}\n",
        "Nobody has stated the base",
        "F1 joy",
        "| 0 |",
        "| 1 |",
        "micro F1 of label sets",  # what the gate went by: the sample corpus has sets
        "label_ranking_average_precision",
        "F1 in sets joy",
        challenger,
        "must not decide over people",
    ):
        assert what in card
    assert version.description.startswith("**Status:** ")
    assert len(version.description) <= 5_000  # what MLflow keeps
    for what in ("### Gate", "### Where it comes from", made.data, challenger, registry.page(registry.round(1))):
        assert what in version.description
    assert "weighted F1 [95 %]" in registry.client.get_run(registry.parent).data.tags["mlflow.note.content"]
    assert "It made [version " in registry.client.get_run(registry.round(1)).data.tags["mlflow.note.content"]
    assert store.fetch(challenger).joinpath("model.safetensors").is_file()  # the card is beside the artifact, not in it
    round_1 = registry.rounds()[1].info.run_id
    assert "card.md" in {a.path for a in registry.client.list_artifacts(round_1)}
