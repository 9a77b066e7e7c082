"""Each component: its plain function, its folder, and a run of its own under KFP's local runner."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kfp import dsl

from components.carry.component import carry
from components.decide.component import decide
from components.evaluate.component import evaluate
from components.filter.component import filter as filter_rollouts
from components.generate.component import generate
from components.prepare.component import prepare
from components.report.component import report
from components.train.component import train
from components.warmup.component import warmup
from selfemo.config import Config
from selfemo.config.sections import Guard
from selfemo.context import Context
from selfemo.policies import Policy
from tests.component import plain

ALL = [prepare, warmup, generate, filter_rollouts, train, evaluate, decide, carry, report]
ROOT = Path(__file__).parents[2] / "components"
STATE = ("policy", "scores", "misses", "go_on")


@pytest.mark.parametrize("component", ALL, ids=lambda c: c.name)
def test_every_component_has_a_folder_that_explains_it(component: Any) -> None:
    folder = ROOT / component.name
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert metadata["name"] == component.name
    assert metadata["image"] in component.component_spec.implementation.container.image
    assert (folder / "README.md").read_text().startswith(f"# {component.name}\n")
    assert component.component_spec.description
    assert len((folder / "component.py").read_text().splitlines()) < 60  # thin


def test_the_plain_functions_make_a_round(small_local: Config) -> None:
    replaying = small_local.model_copy(update={"grpo": small_local.grpo.model_copy(update={"replay": 1})})
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
    report.python_func(text, "", "", SimpleNamespace(state="FAILED", error_message="<b>it broke</b>"))
    page = (Path(small_local.workdir) / "runs" / small_local.run / "report.html").read_text()
    assert "&lt;b&gt;it broke&lt;/b&gt;" in page
    assert "Round 1" in page


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
        ("filter/rollouts", store.manifest(samples).inputs["rollouts"], {"rollouts"}),  # type: ignore[union-attr]
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
    for what in ("Training curves", "Label mix", "Candidates by reason", "Rejected", "data:image/png;base64,"):
        assert what in page
    assert len(page) < 2_000_000
    assert not re.search(r"<script|src=\"(?!data:)|href=|url\(", page)  # self-contained, nothing runs

    registry = Context(small_local).registry
    version = next(v for v in registry.client.search_model_versions("name='self-emo'") if v.source == challenger)
    card = (store.backend(challenger).read(f"{challenger}/README.md") or b"").decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["base_model"]) == ("unknown", small_local.policy.base)
    assert front["metrics"][1]["value"] == round(plain.SHOWN["decide/metrics"].metadata["weighted_f1"], 4)
    for what in (
        f"version {version.version}\n",
        "Nobody has stated the base",
        "F1 joy",
        "| 0 |",
        "| 1 |",
        "gain in weighted F1",
        challenger,
        "must not decide over people",
    ):
        assert what in card
    assert version.description.startswith("Round 1, ")
    assert store.fetch(challenger).joinpath("model.safetensors").is_file()  # the card is beside the artifact, not in it
    round_1 = registry.rounds()[1].info.run_id
    assert "card.md" in {a.path for a in registry.client.list_artifacts(round_1)}


def test_any_number_of_shards_gives_the_same_records(small_local: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    load = Policy.player

    def counted(policy: Policy) -> Any:
        if any(frame.function == "answer" for frame in inspect.stack()):  # evaluation alone counts
            loaded.append(policy.uri)
        return load(policy)

    monkeypatch.setattr(Policy, "player", counted)
    whole = small_local
    text = whole.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    one, scored = plain.rollouts(text, policy, data, 1), plain.scores(text, policy, data, 0)
    for count in (2, 3, 40):  # more shards than dialogues: some are empty
        launch = whole.launch.model_copy(update={"shards": count})
        cut = whole.model_copy(update={"launch": launch, "run": f"cut-{count}"})
        text = cut.to_json()
        same, same_scores = plain.rollouts(text, policy, data, 1), plain.scores(text, policy, data, 0)
        store = Context(cut).store
        assert read(store, same) == read(store, one)
        for file in ("predictions.jsonl.gz", "replies.jsonl.gz", "metrics.json"):
            assert (store.fetch(same_scores) / file).read_bytes() == (store.fetch(scored) / file).read_bytes()
    assert whole.evaluation.dialogues == 8
    assert len(loaded) == 1 + 2 + 3 + 8  # none for an empty shard


def read(store: Any, uri: str) -> bytes:
    return bytes((store.fetch(uri) / "rollouts.jsonl.gz").read_bytes())


def test_a_shard_that_is_missing_is_an_error(small_local: Config) -> None:
    from selfemo import steps
    from selfemo.errors import UserError

    cut = small_local.model_copy(update={"launch": small_local.launch.model_copy(update={"shards": 2})})
    text = cut.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    first, second = (generate.python_func(text, policy, data, 1, n) for n in range(2))
    for parts in ([first], [first, first], [first, second, second]):
        with pytest.raises(UserError, match="not all shards"):
            steps.gather(cut, parts, policy, data, 1)


def test_a_round_that_keeps_nothing_stops_the_loop_and_keeps_the_champion(small_local: Config) -> None:
    from selfemo import config as configuration

    nothing = configuration.Config.model_validate(
        small_local.model_dump() | {"flywheel": {"tau_low": 1.0}, "warmup": {"dialogues": 0}}
    )
    text = nothing.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    assert Context(nothing).store.manifest(policy).result["dialogues"] == 0  # type: ignore[union-attr]
    scores = plain.scores(text, policy, data, 0)
    champion = plain.decide(text, "", "", 0, policy, scores, 0)[0]
    assert champion == Context(nothing).policies.find(policy).uri  # the base's copy, not the record that stands for it
    samples = plain.samples(text, plain.rollouts(text, champion, data, 1), 1)
    challenger = plain.train(text, champion, samples, data, 1)
    new_scores = plain.scores(text, challenger, data, 1)  # it stands for the policy itself
    scored = Context(nothing).store.manifest(new_scores)
    assert scored is not None and scored.inputs["policy"] == champion
    assert Context(nothing).policies.find(challenger).uri == champion  # wherever it is named
    after = plain.decide(text, champion, scores, 0, challenger, new_scores, 1)
    assert after == (champion, scores, 1, False)


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ("guard.min_eligible=1", "share of eligible candidates"),
        ("guard.min_label_entropy=9", "label entropy of the predictions"),
    ],
)
def test_a_round_whose_rollouts_tell_of_collapse_is_stopped_and_marked(
    small_local: Config, bound: str, words: str
) -> None:
    from selfemo import config as configuration
    from selfemo import steps

    section, _, value = bound.partition("=")
    guard = {section.removeprefix("guard."): float(value)}
    collapsed = configuration.Config.model_validate(small_local.model_dump() | {"guard": guard})
    text = collapsed.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    scores = plain.scores(text, policy, data, 0)
    assert plain.decide(text, "", "", 0, policy, scores, 0)[0] == policy  # nothing to go back to
    samples = plain.samples(text, plain.rollouts(text, policy, data, 1), 1)
    challenger = plain.train(text, policy, samples, data, 1)
    after = plain.decide(text, policy, scores, 0, challenger, plain.scores(text, challenger, data, 1), 1)
    assert after == (policy, scores, 1, True)  # the next round plays other dialogues
    context = Context(collapsed)
    row = steps.finished_rounds(context)[1]
    assert row.stopped.startswith("collapse: ") and words in row.stopped
    assert row.rejected is not None
    run = context.registry.client.get_run(context.registry.round(1))
    assert run.data.tags["selfemo.stopped"] == row.stopped
    report.python_func(text, "", "", SimpleNamespace(state="SUCCEEDED", error_message=""))
    page = (Path(small_local.workdir) / "runs" / small_local.run / "report.html").read_text()
    assert "Round 1: stopped" in page and words in page


def test_a_challenger_with_one_label_for_everything_is_not_promoted(small_local: Config) -> None:
    from selfemo import steps

    strict = small_local.model_copy(update={"guard": Guard(min_label_entropy=9)})
    text = strict.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    scores = plain.scores(text, policy, data, 0)
    lenient = small_local.to_json()
    samples = plain.samples(lenient, plain.rollouts(text, policy, data, 1), 1)
    challenger = plain.train(text, policy, samples, data, 1)
    new_scores = plain.scores(text, challenger, data, 1)
    plain.decide(text, "", "", 0, policy, scores, 0)
    after = plain.decide(text, policy, scores, 0, challenger, new_scores, 1)
    assert after == (policy, scores, 1, True)
    context = Context(strict)
    assert "label entropy on held-out turns" in steps.finished_rounds(context)[1].stopped
    version = context.registry.versions.get("2")
    assert version.source == challenger
    assert version.tags["selfemo.stopped"].startswith("collapse: ")


def test_an_error_is_logged_in_one_line_that_names_the_step(
    small_local: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    from selfemo.errors import UserError

    with pytest.raises(UserError):
        plain.samples(small_local.to_json(), small_local.store.root + "/nothing", 3)
    assert "filter of round 3 failed:" in capfd.readouterr().err


def test_every_component_runs_under_the_local_runner_and_does_what_its_function_does(
    small_local: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfp import local

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    text = small_local.to_json()

    def run(component: Any, **given: Any) -> Any:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
        task = component(**given)
        ran.append(component.name)
        shown = [output for output in task.outputs.values() if isinstance(output, dsl.Artifact)]
        assert all(artifact.metadata or Path(artifact.path).exists() for artifact in shown)
        return task.outputs

    ran: list[str] = []
    where = {"config": text}
    prepared = run(prepare, **where, cycle="", scheduled_at="")
    assert prepared["shards"] == [0]
    data = prepared["prepared"]
    assert data == plain.prepare(text)
    policy = run(warmup, **where, prepared=data)["Output"]
    assert policy == plain.warmup(text, data)
    part = run(evaluate, **where, policy=policy, prepared=data, round=0, shard=0)["Output"]
    nothing = {"champion": "", "champion_scores": "", "misses": 0}
    decided = run(decide, **where, **nothing, challenger=policy, shards=[part], prepared=data, round=0)
    scores = plain.scores(text, policy, data, 0)
    assert {name: decided[name] for name in STATE} == {"policy": policy, "scores": scores, "misses": 0, "go_on": True}
    part = run(generate, **where, policy=policy, prepared=data, round=1, shard=0)["Output"]
    samples = run(filter_rollouts, **where, shards=[part], policy=policy, prepared=data, round=1)["Output"]
    assert samples == plain.samples(text, plain.rollouts(text, policy, data, 1), 1)
    challenger = run(train, **where, policy=policy, samples=samples, prepared=data, round=1)["Output"]
    assert challenger == plain.train(text, policy, samples, data, 1)
    carried = run(carry, policy="p", scores="s", misses=2)
    assert {name: carried[name] for name in STATE} == {"policy": "p", "scores": "s", "misses": 2, "go_on": False}
    assert set(ran) == {c.name for c in ALL} - {"report"}  # an exit task: kfp.local gives a status in a pipeline only


def test_rounds_are_gated_on_labelled_dialogues_kept_from_the_warm_up(small_local: Config) -> None:
    from selfemo import config as configuration
    from selfemo.data.dialogue import read_jsonl
    from selfemo.errors import UserError

    data = small_local.model_dump()
    apart = configuration.Config.model_validate(data | {"warmup": data["warmup"] | {"dialogues": 12, "selection": 8}})
    files = Context(apart).store.fetch(plain.prepare(apart.to_json()))
    held_out = {d.id for d in read_jsonl(files / "held_out.jsonl")}
    training = {d.id for d in read_jsonl(files / "training.jsonl")}
    warm = set(yaml.safe_load((files / "warmup.json").read_text()))
    assert len(held_out) == 8
    assert len(warm) == 4
    assert warm < training
    assert not held_out & training
    assert all("/train/" in name for name in held_out)  # the evaluation split is left alone
    with pytest.raises(UserError, match=r"less than warmup\.dialogues"):
        configuration.load(None, ["warmup.dialogues=6", "warmup.selection=6"])
    greedy = configuration.Config.model_validate(data | {"warmup": {"dialogues": 5000, "selection": 4000}})
    with pytest.raises(UserError, match=r"none is left to learn from|no training dialogues are left"):
        plain.prepare(greedy.to_json())


def test_no_rounds_is_the_warm_up_alone(small_local: Config) -> None:
    alone = small_local.model_copy(update={"loop": small_local.loop.model_copy(update={"rounds": 0})})
    text = alone.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    scores = plain.scores(text, policy, data, 0)
    assert plain.decide(text, "", "", 0, policy, scores, 0) == (policy, scores, 0, False)


def test_a_run_that_starts_warmed_up_keeps_its_base_and_still_sets_dialogues_apart(small_local: Config) -> None:
    settings = small_local.model_copy(update={"warmup": small_local.warmup.model_copy(update={"epochs": 0})})
    text = settings.to_json()
    data = plain.prepare(text)
    policy = plain.warmup(text, data)
    context = Context(settings)
    assert context.store.manifest(policy).result["steps"] == 0  # type: ignore[union-attr]
    chosen = json.loads((context.store.fetch(data) / "warmup.json").read_text())
    assert len(chosen) == settings.warmup.dialogues


@pytest.mark.parametrize(
    ("state", "closed"),
    [
        ("SUCCEEDED", "FINISHED"),  # Kubeflow without ML Metadata, and its local runner
        ("COMPLETE", "FINISHED"),  # with it: 2.17's word
        ("FAILED", "FAILED"),
        ("CANCELED", "KILLED"),
    ],
)
def test_the_run_is_closed_as_kubeflow_says_with_the_round_that_was_cut_off(
    small_local: Config, state: str, closed: str
) -> None:
    registry = Context(small_local).registry
    decided, cut_off = registry.round(0), registry.round(1)
    registry.finish(decided)
    report.python_func(small_local.to_json(), "", "", SimpleNamespace(state=state, error_message=""))
    status = {run: registry.client.get_run(run).info.status for run in (registry.parent, decided, cut_off)}
    assert status == {registry.parent: closed, decided: "FINISHED", cut_off: closed}


def test_a_scheduled_run_has_a_name_of_its_own_from_its_first_step_to_its_report(small_local: Config) -> None:
    when = "2026-11-26T03:00:00Z"
    settings, _, _ = plain.prepare_cycle(small_local.to_json(), "scheduled", when)
    tonight = Config.from_json(settings)
    assert tonight.run == f"{small_local.run}-20261126-030000"
    assert tonight.model_copy(update={"run": small_local.run}) == small_local
    report.python_func(small_local.to_json(), "scheduled", when, SimpleNamespace(state="COMPLETE", error_message=""))
    registry = Context(tonight).registry
    assert registry.client.get_run(registry.parent).info.status == "FINISHED"
    again, data, _ = plain.prepare_cycle(small_local.to_json(), "20261126-030000", "")  # resubmitted by name
    assert again == settings
    assert f"/{tonight.run}/" in data


def test_a_cycle_starts_from_the_champion_there_is_and_keeps_to_it_when_it_is_run_again(small_local: Config) -> None:
    from selfemo.registry.versions import CHAMPION

    def cycle(name: str) -> tuple[str, str]:
        settings, data, _ = plain.prepare_cycle(nightly.to_json(), name, "")
        return settings, plain.warmup(settings, data)

    policy = small_local.policy.model_copy(update={"start": f"models:/{small_local.mlflow.model}@{CHAMPION}"})
    nightly = small_local.model_copy(update={"policy": policy})
    context = Context(small_local)
    _, first = cycle("first")
    assert context.store.manifest(first).result["steps"] > 0  # type: ignore[union-attr]  # nothing to start from yet
    number = context.registry.versions.register(first, context.registry.round(0), {})
    context.registry.versions.set_alias(CHAMPION, number)
    settings, second = cycle("second")
    assert context.policies.find(second).uri == first
    other = context.registry.versions.register("s3://another", context.registry.round(0), {})
    context.registry.versions.set_alias(CHAMPION, other)
    assert cycle("second") == (settings, second)
