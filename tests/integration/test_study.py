"""A study of two variants on a tiny real model: every run through the compiled pipeline, kept, and not repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from selfemo.cli import main
from selfemo.config import Config
from selfemo.config.overrides import put
from tests.conftest import SMALL


@pytest.fixture
def plan(small: Config, tmp_path: Path) -> Path:
    config: dict[str, object] = {}
    for setting in SMALL:
        name, _, value = setting.partition("=")
        put(config, name, yaml.safe_load(value))
    put(config, "policy.base", small.policy.base)
    put(config, "workdir", small.workdir)
    put(config, "loop.rounds", 1)
    put(config, "grpo.replay", 1)
    text = {
        "name": "tiny",
        "title": "A tiny study",
        "seeds": [3],
        "ours": "ours",
        "config": config,
        "budgets": {"24": {}},
        "variants": {
            "warm-up": {"title": "warm-up only", "settings": {"loop.rounds": 0}},
            "ours": {"title": "ours"},
        },
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False))
    return path


@pytest.mark.usefixtures("steps_that_are_loaded")
def test_a_study_runs_what_is_not_finished_and_its_figures_can_be_had_again(
    plan: Path, small: Config, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    study = ["study", "--plan", str(plan), "--out", str(out)]
    assert "nothing is finished" in CliRunner().invoke(main, [*study, "--write-only"]).output
    result = CliRunner().invoke(main, [*study, "--only", "24-ours"])  # its warm-up comes first all the same
    assert result.exit_code == 0, result.output
    files = {f.stem: f for f in (out / "runs").glob("*.json")}
    assert set(files) == {"24-warm-up-3", "24-ours-3"}
    warm, ours = (json.loads(files[n].read_text()) for n in ("24-warm-up-3", "24-ours-3"))
    assert ours["base"] == warm["policy"]
    assert [r["round"] for r in ours["rounds"]] == [0, 1]
    assert {"pseudo_label_accuracy", "kept_label_accuracy", "acceptance"} <= set(ours["rounds"][1]["filter"])
    assert "reward/understanding" in ours["rounds"][1]["training"]
    assert "| ours | 3 |" in (out / "table.md").read_text()

    again = tmp_path / "again"
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(plan.read_text())["config"]))
    arguments = ["--config", str(config), "--set", "seed=3", "--policy", ours["policy"], "--out", str(again)]
    assert CliRunner().invoke(main, ["evaluate", *arguments]).exit_code == 0
    fresh = json.loads((again / "metrics.json").read_text())["sample"]
    assert fresh["accuracy"] == ours["scores"]["accuracy"]
    assert fresh["weighted_f1"] == ours["scores"]["weighted_f1"]

    before = {n: f.stat().st_mtime_ns for n, f in files.items()}
    assert CliRunner().invoke(main, study).exit_code == 0
    assert {n: f.stat().st_mtime_ns for n, f in files.items()} == before


def test_what_is_not_part_of_the_study_is_said(plan: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["study", "--plan", str(plan), "--out", str(tmp_path), "--only", "25-"])
    assert result.exit_code == 2
    assert "no run of the study begins with '25-'" in result.output
