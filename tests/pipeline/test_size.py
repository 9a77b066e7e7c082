"""A run that would outgrow what a cluster keeps of it is refused before it begins."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines import size
from pipelines.compile import COMPILED, growth_of
from pipelines.submit import main as submit
from selfemo import config as configuration
from selfemo.cli import main
from selfemo.config import Config
from selfemo.errors import UserError
from tests.conftest import there


def of(rounds: int, shards: int) -> Config:
    return configuration.load(None, [f"loop.rounds={rounds}", f"launch.shards={shards}"])


@pytest.mark.parametrize(
    ("rounds", "shards", "kilobytes"),
    [(3, 8, 469), (5, 8, 605), (10, 8, 945), (10, 16, 1405)],  # KFP 2.17.0's compiler, node status gzipped
)
def test_the_estimate_is_that_of_the_model(rounds: int, shards: int, kilobytes: int) -> None:
    assert size.kilobytes(rounds, shards) == pytest.approx(kilobytes, rel=0.01)


def test_what_fits_is_said_with_its_size() -> None:
    assert re.search(r"469 of 1024 KB", size.check(of(3, 8)))


@pytest.mark.parametrize(("rounds", "shards"), [(10, 16), (10, 64), (5, 64)])
def test_what_does_not_is_refused_and_what_is_proposed_instead_fits(rounds: int, shards: int) -> None:
    with pytest.raises(UserError, match="a cluster takes 1024") as refused:
        size.check(of(rounds, shards))
    proposed = int(there(re.search(r"to (\d+)", str(refused.value))).group(1))
    size.check(of(rounds, proposed))
    with pytest.raises(UserError):
        size.check(of(rounds, proposed + 1))


@pytest.mark.parametrize(("rounds", "shards", "room"), [(5, 20, 10), (10, 16, 10), (10, 16, 0), (6, 20, 0)])
def test_fewer_rounds_that_are_proposed_fit_and_one_more_does_not(rounds: int, shards: int, room: int) -> None:
    with pytest.raises(UserError) as refused:
        size.check(of(rounds, shards), room)
    shorter = int(there(re.search(r"loop\.rounds to (\d+)", str(refused.value))).group(1))
    size.check(of(shorter, shards), room)
    with pytest.raises(UserError):
        size.check(of(shorter + 1, shards), room)


def test_rounds_that_a_form_has_and_a_run_does_not_play_are_counted() -> None:
    assert size.kilobytes(5, 8) < size.kilobytes(5, 8, 10) < size.kilobytes(10, 8)
    assert "with rounds: 5, shards: 20" in size.check(of(5, 20))
    with pytest.raises(UserError, match="5 rounds of 20 shards in a form for 10 make a Workflow of some 1060 KB"):
        size.check(of(5, 20), 10)


def test_submitting_counts_the_rounds_that_are_asked_for_in_the_form_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(of(5, 20).to_json())
    monkeypatch.setattr(sys, "argv", ["submit", str(file), "--form", str(COMPILED / "selfemo-10.yaml")])
    assert submit() == 2
    assert "in a form for 10 make a Workflow of some 1060 KB, and a cluster takes 1024" in capsys.readouterr().err


def test_compiling_refuses_what_submitting_would_and_writes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "build"
    done = CliRunner().invoke(main, ["compile", "--set=loop.rounds=10", "--set=launch.shards=16", f"--out={out}"])
    said = capfd.readouterr().err
    assert done.exit_code == 2
    assert "10 rounds of 16 shards make a Workflow of some 1405 KB, and a cluster takes 1024" in said
    assert "fix: set launch.shards to 8 or fewer, or loop.rounds to 5 or fewer" in said
    assert not out.exists()


def test_compiling_says_how_many_rounds_each_form_can_be_run_with() -> None:
    own, five, ten = growth_of(of(2, 16))
    assert own == "selfemo-5: the Workflow grows to some 559 of 1024 KB with rounds: 2 in a form for 5, shards: 16"
    assert five == "selfemo-5: with all of its rounds, some 835 of 1024 KB"
    assert ten == "selfemo-10: with all of its rounds, some 1405 of 1024 KB, which is too large: play 5 or fewer"
    assert len(growth_of(of(6, 8))) == 2


def test_compiling_refuses_groups_that_cannot_be_dealt_out_as_submitting_does() -> None:
    with pytest.raises(UserError, match="cannot be dealt out"):
        growth_of(configuration.load(None, ["launch.processes=3", "grpo.prompts_per_step=4"]))
