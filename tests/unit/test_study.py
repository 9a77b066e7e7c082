"""A study's plan, its statistics and its page, from records that are written by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.records import Prediction
from selfemo.errors import UserError
from selfemo.method.tallies import scores_of
from selfemo.study import command, page
from selfemo.study.execute import counts
from selfemo.study.plan import StudyPlan, load, study_runs
from selfemo.study.stats import Variants, dense
from tests.spaces import SPACES

ROOT = Path(__file__).parents[2]

PLAN: dict[str, Any] = {
    "name": "try",
    "title": "A try",
    "seeds": [1, 2],
    "ours": "ours",
    "config": {"selfplay": {"episodes": 3}},
    "budgets": {8: {"warmup.dialogues": 8}, 16: {"warmup.dialogues": 16}},
    "variants": {
        "warm-up": {"title": "warm-up only", "settings": {"loop.rounds": 0}},
        "ours": {"title": "ours"},
        "ceiling": {"title": "all labels", "settings": {"warmup.dialogues": 70, "loop.rounds": 0}, "seeds": [1]},
    },
}


def plan_in(folder: Path, **changes: Any) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({**PLAN, **changes}, sort_keys=False))
    return path


def record(variant: str, seed: int, right: int, budget: str = "8") -> dict[str, Any]:
    """Ten dialogues of four turns, each with ``right`` turns of label 0 read as such, the rest as label 1."""
    table = [[d, 0, p, n] for d in range(10) for p, n in ((0, right), (1, 4 - right)) if n]
    return {
        "variant": variant,
        "budget": budget,
        "seed": seed,
        "machine": "2 cores",
        "code": "c",
        "seconds": 60.0,
        "labels": ["a", "b"],
        "counts": table,
        "scores": {"dialogues": 10, "turns": 40, "accuracy": right / 4, "expression_own": 0.5},
        "rounds": [
            {"round": 0, "seconds": 1.0, "promoted": True, "stopped": "", "selection": {}},
            {
                "round": 1,
                "seconds": 2.0,
                "promoted": True,
                "stopped": "",
                "selection": {"accuracy": 0.5},
                "filter": {"acceptance": 0.5},
                "training": {"zero_variance": 0.1},
                "reasons": {"trivial": 3},
            },
        ],
    }


def test_a_plan_is_every_variant_at_every_budget_and_seed_but_for_those_it_limits(tmp_path: Path) -> None:
    path = plan_in(tmp_path)
    found = study_runs(load(path), path)
    assert len(found) == 2 * (2 + 2 + 1)
    assert [c.name for c in found[:3]] == ["8-warm-up-1", "8-ours-1", "8-ceiling-1"]
    ours = found[1]
    assert ours.config.run == "try-8-ours-1"
    assert (ours.config.seed, ours.config.warmup.dialogues, ours.config.selfplay.episodes) == (1, 8, 3)
    start = ours.starting_from("s3://b/theta")
    assert (start.policy.base, start.warmup.epochs, start.warmup.dialogues) == ("s3://b/theta", 0, 8)
    assert [c.start for c in found[:3]] == ["", "warm-up", ""]
    assert found[2].config.warmup.dialogues == 70


def test_a_record_stands_until_the_label_file_of_a_corpus_is_edited(tmp_path: Path) -> None:
    own, labels = tmp_path / "own", tmp_path / "own" / "labels.yaml"
    own.mkdir()
    labels.write_text("name: own\nlabels: [calm, joy]\n")
    path = plan_in(tmp_path, config={"corpora": [{"name": "own", "path": "own"}]})
    before = study_runs(load(path), path)[1]
    labels.write_text("# said otherwise\nlabels: [calm, joy]\nname: own\n")
    assert study_runs(load(path), path)[1].digest == before.digest
    labels.write_text("name: own\nlabels: [calm, joy, anger]\n")
    assert study_runs(load(path), path)[1].digest != before.digest


def test_a_record_of_a_shipped_corpus_stands_as_it_did_before_label_files_counted(tmp_path: Path) -> None:
    path = plan_in(tmp_path)
    assert study_runs(load(path), path)[1].digest == "ba59826f62da524e"


def test_a_setting_of_what_is_no_section_names_its_variant(tmp_path: Path) -> None:
    variants = {**PLAN["variants"], "ours": {"title": "ours", "settings": {"selfplay.episodes.x": 1}}}
    path = plan_in(tmp_path, variants=variants)
    with pytest.raises(UserError, match=r"plan\.yaml: 8, variant ours: selfplay\.episodes\.x: episodes is not"):
        study_runs(load(path), path)


def with_second_start(**changes: Any) -> dict[str, Any]:
    """Variants of a plan: a warm-up, a longer one, ours, and ours from the longer one."""
    return {
        "warm-up": {"title": "a", "settings": {"loop.rounds": 0}},
        "longer": {"title": "b", "settings": {"loop.rounds": 0, "warmup.epochs": 9}},
        "ours": {"title": "c"},
        "later": {"title": "d", "start": "longer"} | changes,
    }


def test_a_variant_may_start_from_another_warm_up_and_is_compared_with_it(tmp_path: Path) -> None:
    path = plan_in(tmp_path, variants=with_second_start())
    plan = load(path)
    found = {c.variant: c for c in study_runs(plan, path)}
    assert (found["later"].start, found["ours"].start) == ("longer", "warm-up")
    assert found["later"].starting_from("s3://b/theta").policy.base == "s3://b/theta"
    assert found["later"].digest != found["ours"].digest
    records = [record("warm-up", 1, 1), record("longer", 1, 2), record("ours", 1, 2), record("later", 1, 3)]
    table = page.write(plan, records, tmp_path, "c").read_text()
    assert "| d | 1 | 75.0 |" in table
    row = next(line for line in table.splitlines() if line.startswith("| d | 1 | 75.0"))
    assert "**+25.0**" in row.split("|")[6], "above the longer warm-up, not the first"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": "none"}, "later can start from"),
        ({"start": "ours"}, "later can start from"),
        ({"settings": {"warmup.epochs": 2}}, "later can start from"),
    ],
)
def test_a_variant_starts_from_a_warm_up_alone(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = plan_in(tmp_path, variants=with_second_start(**changes))
    with pytest.raises(UserError, match=words):
        load(path)


def test_a_variant_starts_from_one_that_runs_wherever_it_does(tmp_path: Path) -> None:
    variants = with_second_start()
    variants["longer"]["seeds"] = [1]
    with pytest.raises(UserError, match="longer does not run at all budgets and seeds of later"):
        load(plan_in(tmp_path, variants=variants))
    variants["later"]["seeds"] = [1]
    load(plan_in(tmp_path, variants=variants))


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "study").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_studies_that_are_checked_in_are_ones(path: Path) -> None:
    plan = load(path)
    assert plan.ours in plan.variants
    assert len({c.config.run for c in study_runs(plan, path)}) == len(study_runs(plan, path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ours": "theirs"}, "no such variant: theirs"),
        ({"variants": {"a": {"title": "a"}, "ours": {"title": "b"}}}, "the first variant is the warm-up"),
        ({"config": {"selfplay": {"episodes": -1}}}, "selfplay.episodes"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_plan_is_named_with_its_file(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = plan_in(tmp_path, **changes)
    with pytest.raises(UserError, match=words) as error:
        study_runs(load(path), path)
    assert str(path) in str(error.value)


def test_a_record_stands_until_the_plan_changes(tmp_path: Path) -> None:
    path = plan_in(tmp_path)
    run = study_runs(load(path), path)[1]
    assert command.finished(run, tmp_path) is None
    command.keep(record("ours", 1, 3) | {"digest": run.digest}, tmp_path / f"{run.name}.json")
    assert command.finished(run, tmp_path) == record("ours", 1, 3) | {"digest": run.digest}
    other = plan_in(tmp_path, config={"selfplay": {"episodes": 4}})
    assert command.finished(study_runs(load(other), other)[1], tmp_path) is None
    (tmp_path / f"{run.name}.json").write_text("[]")
    with pytest.raises(UserError, match=r"ours-1\.json"):
        command.finished(run, tmp_path)


def test_records_of_other_code_stand_and_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, out = plan_in(tmp_path), tmp_path / "out"
    old, new, *_ = study_runs(load(path), path)
    for run, code in ((old, "0.1.0+old"), (new, "0.1.0+new")):
        (out / "runs").mkdir(parents=True, exist_ok=True)
        made = record(run.variant, run.seed, 3) | {"digest": run.digest, "code": code}
        command.keep(made, out / "runs" / f"{run.name}.json")
    monkeypatch.setenv("SELFEMO_CODE_VERSION", "0.1.0+new")
    command.study(path, out, [], write_only=True)
    (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said.startswith("1 RECORDS ARE OF OTHER CODE, 0.1.0+old, and this is 0.1.0+new: ")
    assert f"{old.name}.json" in said and f"{new.name}.json" not in said


LABELS = st.integers(0, 6)


@given(st.lists(st.tuples(st.integers(0, 3), LABELS, st.integers(0, 7)), min_size=1, max_size=40))
def test_counts_hold_all_that_the_scores_need(turns: list[tuple[int, int, int]]) -> None:

    names = SPACES["meld"].labels
    rows = [
        Prediction(
            corpus="meld",
            dialogue=str(d),
            turn=i,
            gold=(names[g],),
            predicted=(names[p],) if p < 7 else (),
            posterior=(1 / 7,) * 7,
        )
        for i, (d, g, p) in enumerate(turns)
    ]
    kept = {
        "labels": list(names),
        "counts": counts(rows, SPACES["meld"]),
        "scores": {"dialogues": len({d for d, _, _ in turns})},
    }
    matrix = dense(kept)
    assert matrix.sum() == len(turns)
    assert float(scores_of(matrix.sum(0)).accuracy) == pytest.approx(np.mean([g == p for _, g, p in turns]))


def test_gains_are_paired_over_the_seeds_that_both_variants_have() -> None:
    variants = Variants(
        [
            record("warm-up", 1, 2),
            record("warm-up", 2, 2),
            record("ours", 1, 3),
            record("ours", 2, 4),
            record("ceiling", 1, 4),
        ]
    )
    gain = variants.gain("ours", "warm-up", "accuracy")
    assert gain.value == pytest.approx((0.25 + 0.5) / 2)
    # every dialogue of a seed gains the same, so what is left to chance is which seeds there are
    assert [gain.low, gain.high] == pytest.approx([0.25, 0.5])
    assert gain.sure
    assert variants.gain("ceiling", "ours", "accuracy").value == pytest.approx(0.25)  # seed 1 alone
    assert variants.mean("warm-up", "accuracy").value == pytest.approx(0.5)
    assert not variants.gain("ours", "ours", "accuracy").sure


def test_runs_scored_on_different_dialogues_are_not_compared() -> None:
    other = record("ours", 1, 3)
    other["scores"] = other["scores"] | {"dialogues": 9}
    with pytest.raises(ValueError, match="different dialogues"):
        Variants([record("warm-up", 1, 2), other])


def test_the_page_has_a_row_for_each_finished_variant_and_its_data(tmp_path: Path) -> None:
    plan = StudyPlan.model_validate(PLAN)
    records = [record("warm-up", 1, 2), record("ours", 1, 3)]
    table = page.write(plan, records, tmp_path, "selfemo study").read_text()
    row = next(line for line in table.splitlines() if line.startswith("| ours | 1 | 75.0"))
    assert "**+25.0** [+25.0, +25.0]" in row
    assert "| warm-up only | 1 | 50.0" in table
    assert "all labels" not in table
    assert "16 labelled" not in table
    for name in ("gains-8.png", "rounds-8.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert name in table
    scores = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [(s["variant"], s["accuracy"]) for s in scores] == [("warm-up", "0.5000"), ("ours", "0.7500")]
    rounds = list(csv.DictReader((tmp_path / "rounds.csv").open()))
    assert [r["reasons_trivial"] for r in rounds if r["variant"] == "ours"] == ["", "3"]
    assert [line for line in table.split("\n") if not line.isprintable()] == []


def test_entropies_stand_under_the_names_that_they_have_today_whatever_a_record_calls_them(tmp_path: Path) -> None:
    before, after = record("ours", 1, 3), record("ours", 2, 3)
    before["rounds"][1]["filter"] = {"predicted_entropy": 1.25, "label_entropy": 1.5}  # of targets, and of those kept
    after["rounds"][1]["filter"] = {"predicted_entropy": 0.25, "target_entropy": 1.75, "kept_entropy": 1.5}
    table = page.write(StudyPlan.model_validate(PLAN), [before, after], tmp_path, "c").read_text()
    lines = [line.split(" | ") for line in table.split("| variant | round")[1].splitlines()]
    heads, row = ["", "round", *lines[0][1:]], next(line for line in lines if line[:2] == ["| ours", "1"])
    assert row[heads.index("entropy of predictions")] == "0.25"
    assert row[heads.index("entropy of targets")] == "1.50"
    rows = list(csv.DictReader((tmp_path / "rounds.csv").open()))
    assert [r["filter_target_entropy"] for r in rows if r["round"] == "1"] == ["1.2500", "1.7500"]
    assert before["rounds"][1]["filter"]["predicted_entropy"] == 1.25, "the record itself stays as it is"
