"""Each component: its plain function, its folder, and a run of its own under KFP's local runner."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

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
from selfemo.context import Context
from selfemo.measure import weights
from selfemo.sections import Guard

ALL = [prepare, warmup, generate, filter_rollouts, train, evaluate, decide, carry, report]
ROOT = Path(__file__).parents[2] / "components"


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
    data = prepare.python_func(text)
    policy = warmup.python_func(text, data)
    scores = evaluate.python_func(text, policy, data, 0)
    champion, champion_scores, misses, go_on = decide.python_func(text, "", "", 0, policy, scores, 0)
    assert (champion, champion_scores, misses, go_on) == (policy, scores, 0, True)
    rollouts = generate.python_func(text, policy, data, 1)
    samples = filter_rollouts.python_func(text, rollouts, 1)
    challenger = train.python_func(text, policy, samples, data, 1)
    assert challenger != policy
    history = json.loads((Context(replaying).store.fetch(challenger) / "training.json").read_text())
    assert all("replay_loss" in row for row in history)
    new_scores = evaluate.python_func(text, challenger, data, 1)
    after = decide.python_func(text, champion, champion_scores, misses, challenger, new_scores, 1)
    assert after[0] in (policy, challenger)
    assert after[3] is True
    report.python_func(text, SimpleNamespace(state="FAILED", error_message="<b>it broke</b>"))
    page = (Path(small_local.workdir) / "runs" / small_local.run / "report.html").read_text()
    assert "&lt;b&gt;it broke&lt;/b&gt;" in page
    assert "Round 1" in page


def test_a_round_that_keeps_nothing_stops_the_loop_and_keeps_the_champion(small_local: Config) -> None:
    from selfemo import config as configuration

    nothing = configuration.Config.model_validate(
        small_local.model_dump() | {"flywheel": {"tau_low": 1.0}, "warmup": {"dialogues": 0}}
    )
    text = nothing.to_json()
    data = prepare.python_func(text)
    policy = warmup.python_func(text, data)
    assert Context(nothing).store.manifest(policy).result["dialogues"] == 0  # type: ignore[union-attr]
    scores = evaluate.python_func(text, policy, data, 0)
    decide.python_func(text, "", "", 0, policy, scores, 0)
    samples = filter_rollouts.python_func(text, generate.python_func(text, policy, data, 1), 1)
    challenger = train.python_func(text, policy, samples, data, 1)
    new_scores = evaluate.python_func(text, challenger, data, 1)  # it stands for the policy itself
    scored = Context(nothing).store.manifest(new_scores)
    assert scored is not None and scored.inputs["policy"] == policy
    assert weights(Context(nothing), challenger) == weights(Context(nothing), policy)  # wherever it is named
    after = decide.python_func(text, policy, scores, 0, challenger, new_scores, 1)
    assert after == (policy, scores, 1, False)


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ("guard.min_sound=1", "share of sound candidates"),
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
    data = prepare.python_func(text)
    policy = warmup.python_func(text, data)
    scores = evaluate.python_func(text, policy, data, 0)
    assert decide.python_func(text, "", "", 0, policy, scores, 0)[0] == policy  # nothing to go back to
    samples = filter_rollouts.python_func(text, generate.python_func(text, policy, data, 1), 1)
    challenger = train.python_func(text, policy, samples, data, 1)
    after = decide.python_func(text, policy, scores, 0, challenger, scores, 1)
    assert after == (policy, scores, 1, True)  # the next round plays other dialogues
    context = Context(collapsed)
    row = steps.finished_rounds(context)[1]
    assert row.stopped.startswith("collapse: ") and words in row.stopped
    assert row.rejected is not None
    run = context.registry.client.get_run(context.registry.round(1))
    assert run.data.tags["selfemo.stopped"] == row.stopped
    report.python_func(text, SimpleNamespace(state="SUCCEEDED", error_message=""))
    page = (Path(small_local.workdir) / "runs" / small_local.run / "report.html").read_text()
    assert "Round 1: stopped" in page and words in page


def test_a_challenger_with_one_label_for_everything_is_not_promoted(small_local: Config) -> None:
    from selfemo import steps

    strict = small_local.model_copy(update={"guard": Guard(min_label_entropy=9)})
    text = strict.to_json()
    data = prepare.python_func(text)
    policy = warmup.python_func(text, data)
    scores = evaluate.python_func(text, policy, data, 0)
    lenient = small_local.to_json()
    samples = filter_rollouts.python_func(lenient, generate.python_func(text, policy, data, 1), 1)
    challenger = train.python_func(text, policy, samples, data, 1)
    new_scores = evaluate.python_func(text, challenger, data, 1)
    decide.python_func(text, "", "", 0, policy, scores, 0)
    after = decide.python_func(text, policy, scores, 0, challenger, new_scores, 1)
    assert after == (policy, scores, 1, True)
    context = Context(strict)
    assert "label entropy on held-out turns" in steps.finished_rounds(context)[1].stopped
    version = context.registry.version("2")
    assert version.source == challenger
    assert version.tags["selfemo.stopped"].startswith("collapse: ")


def test_an_error_is_logged_in_one_line_that_names_the_step(
    small_local: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    from selfemo.errors import UserError

    with pytest.raises(UserError):
        filter_rollouts.python_func(small_local.to_json(), small_local.store.root + "/nothing", 3)
    assert "filter of round 3 failed:" in capfd.readouterr().err


def test_a_component_runs_under_the_local_runner(small_local: Config, tmp_path: Path) -> None:
    from kfp import local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    assert carry(policy="p", scores="s", misses=2).outputs == {
        "policy": "p",
        "scores": "s",
        "misses": 2,
        "go_on": False,
    }
    task = prepare(config=small_local.to_json())
    assert Context(small_local).store.manifest(task.output) is not None


def test_rounds_are_gated_on_labelled_dialogues_kept_from_the_warm_up(small_local: Config) -> None:
    from selfemo import config as configuration
    from selfemo.dialogue import read_jsonl
    from selfemo.errors import UserError

    data = small_local.model_dump()
    apart = configuration.Config.model_validate(data | {"warmup": data["warmup"] | {"dialogues": 6, "selection": 2}})
    files = Context(apart).store.fetch(prepare.python_func(apart.to_json()))
    held_out = {d.id for d in read_jsonl(files / "held_out.jsonl")}
    training = {d.id for d in read_jsonl(files / "training.jsonl")}
    warm = set(yaml.safe_load((files / "warmup.json").read_text()))
    assert len(held_out) == 2
    assert len(warm) == 4
    assert warm < training
    assert not held_out & training
    assert all("/train/" in name for name in held_out)  # the evaluation split is left alone
    with pytest.raises(UserError, match=r"less than warmup\.dialogues"):
        configuration.load(None, ["warmup.dialogues=6", "warmup.selection=6"])
    greedy = configuration.Config.model_validate(data | {"warmup": {"dialogues": 5000, "selection": 4000}})
    with pytest.raises(UserError, match="kept for selection"):
        prepare.python_func(greedy.to_json())


def test_no_rounds_is_the_warm_up_alone(small_local: Config) -> None:
    alone = small_local.model_copy(update={"loop": small_local.loop.model_copy(update={"rounds": 0})})
    text = alone.to_json()
    data = prepare.python_func(text)
    policy = warmup.python_func(text, data)
    scores = evaluate.python_func(text, policy, data, 0)
    assert decide.python_func(text, "", "", 0, policy, scores, 0) == (policy, scores, 0, False)


def test_a_run_that_starts_warmed_up_keeps_its_base_and_still_sets_dialogues_apart(small_local: Config) -> None:
    settings = small_local.model_copy(update={"warmup": small_local.warmup.model_copy(update={"epochs": 0})})
    text = settings.to_json()
    data = prepare.python_func(text)
    policy = warmup.python_func(text, data)
    context = Context(settings)
    assert context.store.manifest(policy).result["steps"] == 0  # type: ignore[union-attr]
    chosen = json.loads((context.store.fetch(data) / "warmup.json").read_text())
    assert len(chosen) == settings.warmup.dialogues
