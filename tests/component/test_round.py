"""A round by the components' plain functions, and what the user interface is shown of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import yaml
from click.testing import CliRunner

from components.report.component import report
from selfemo import steps
from selfemo.cli import main
from selfemo.config import Config
from selfemo.context import Context
from tests.component import plain
from tests.conftest import there


def test_the_plain_functions_make_a_round(small_local: Config) -> None:
    play = small_local.selfplay.model_copy(update={"corpus_dialogues": 1000})  # each round sees the whole pool
    grpo = small_local.grpo.model_copy(update={"replay": 1})
    replaying = small_local.model_copy(update={"grpo": grpo, "selfplay": play})
    text = replaying.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    scores = plain.scores(text, policy, data, 0)
    champion, champion_scores, misses, go_on = plain.decide(text, "", "", 0, policy, scores, 0)
    assert (champion, champion_scores, misses, go_on) == (policy, scores, 0, True)
    rollouts = plain.rollouts(text, policy, data, 1)
    samples = plain.samples(text, rollouts, 1)
    challenger = plain.train(text, policy, samples, data, 1)
    assert challenger != policy
    history = json.loads((Context(replaying).store.fetch(challenger) / "training.json").read_text())
    assert all("replay_loss" in row for row in history)
    new_scores = plain.scores(text, challenger, data, 1)
    after = plain.decide(text, champion, champion_scores, misses, challenger, new_scores, 1)
    assert after[0] in (policy, challenger)
    assert after[3] is True
    _the_next_round_knows_what_the_policy_was_taught(replaying, challenger, samples, data)
    report.python_func(text, "", "", SimpleNamespace(state="FAILED", error_message="<b>it broke</b>"))
    page = (Path(small_local.workdir) / "runs" / small_local.run / "report.html").read_text()
    assert "&lt;b&gt;it broke&lt;/b&gt;" in page
    assert "Round 1" in page
    _the_page_can_be_written_again_by_the_runs_name(replaying)


def _the_page_can_be_written_again_by_the_runs_name(config: Config) -> None:
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


def _the_next_round_knows_what_the_policy_was_taught(config: Config, policy: str, samples: str, data: str) -> None:
    store, text = Context(config).store, config.to_json()
    again = plain.samples(text, plain.rollouts(text, policy, data, 2), 2)
    before, now = (json.loads((store.fetch(uri) / "targets.json").read_text()) for uri in (samples, again))
    told = json.loads((store.fetch(again) / "filter.json").read_text())
    assert told["metrics"]["seen_again"] == len(before)
    assert before.keys() == now.keys()
    assert sum(told["flips"].values()) == sum(label != now[turn] for turn, label in before.items())


def test_rollouts_of_a_policy_that_is_no_artifact_are_filtered_too(small_local: Config, tiny: Path) -> None:
    text = small_local.to_json()
    data = plain.prepare(text)
    samples = steps.filter(small_local, steps.self_play(small_local, str(tiny), data, 1).uri, 1)
    assert samples.manifest.result["seen_again"] == 0


def test_the_user_interface_is_told_what_there_is_to_see(small_local: Config) -> None:
    text = small_local.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    scores = plain.scores(text, policy, data, 0)
    plain.decide(text, "", "", 0, policy, scores, 0)
    samples = plain.samples(text, plain.rollouts(text, policy, data, 1), 1)
    challenger = plain.train(text, policy, samples, data, 1)
    plain.decide(text, policy, scores, 0, challenger, plain.scores(text, challenger, data, 1), 1)
    store = Context(small_local).store
    for name, uri, counts in (
        ("filter/rollouts", there(store.manifest(samples)).inputs["rollouts"], {"rollouts"}),
        ("filter/dataset", samples, {"samples"}),
        ("train/model", challenger, {"samples", "steps"}),
    ):
        shown = plain.SHOWN[name]
        manifest = store.manifest(uri)
        assert manifest is not None
        assert (shown.metadata["store_uri"], shown.metadata["sha256"]) == (uri, manifest.digest)
        assert (shown.metadata["round"], shown.metadata["base_model"]) == (1, small_local.policy.base)
        assert counts <= set(shown.metadata)
        assert json.loads(Path(shown.path).read_text()) == shown.metadata  # small: the data stay in the store
    assert 0 <= plain.SHOWN["decide/metrics"].metadata["weighted_f1"] <= 1
    assert plain.SHOWN["filter/metrics"].metadata["candidates"] > 0
    rows = plain.SHOWN["decide/confusion"].metadata["confusionMatrix"]["rows"]
    assert sum(sum(r["row"]) for r in rows) == plain.SHOWN["decide/metrics"].metadata["turns"]
    summary = Path(plain.SHOWN["decide/summary.md"].path).read_text()
    assert summary.startswith("## Round 1: ") and "| weighted F1 [95 %] |" in summary
    page = Path(plain.SHOWN["decide/page.html"].path).read_text()
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

    registry = Context(small_local).registry
    version = next(v for v in registry.client.search_model_versions("name='self-emo'") if v.source == challenger)
    card = (store.backend(challenger).read(f"{challenger}/README.md") or b"").decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["base_model"]) == ("unknown", small_local.policy.base)
    assert front["metrics"][1]["name"] == "weighted_f1 on sample dev"
    assert front["metrics"][1]["value"] == round(plain.SHOWN["decide/metrics"].metadata["weighted_f1"], 4)
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
    for what in ("### Gate", "### Where it comes from", data, challenger, registry.page(registry.round(1))):
        assert what in version.description
    assert "weighted F1 [95 %]" in registry.client.get_run(registry.parent).data.tags["mlflow.note.content"]
    assert "It made [version " in registry.client.get_run(registry.round(1)).data.tags["mlflow.note.content"]
    assert store.fetch(challenger).joinpath("model.safetensors").is_file()  # the card is beside the artifact, not in it
    round_1 = registry.rounds()[1].info.run_id
    assert "card.md" in {a.path for a in registry.client.list_artifacts(round_1)}
