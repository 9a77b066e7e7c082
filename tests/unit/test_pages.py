"""What MLflow's pages say in words: true after every move, harmless whoever wrote a part, and left alone by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from selfemo import config as configuration
from selfemo.registry import pages
from selfemo.registry.client import ABOUT, KIND, NOTE, Registry
from selfemo.registry.markdown import code, escaped, table
from selfemo.registry.rounds import RoundFate, RoundRow
from selfemo.registry.status import follow

HOSTILE = (
    "<script>alert(1)</script> [x](javascript:alert(1)) ![x](//evil.example/i.png) https://evil.example "
    "www.evil.example a@evil.example `c` **b** _i_ | cell | # head &lt; \\ <!-- \n\n# next"
)


@pytest.fixture
def registry(mlflow_file: str) -> Registry:
    return Registry(mlflow_file, configuration.load(None, ["run=unit"]))


def version(registry: Registry, name: str) -> str:
    tags = {"selfemo.round": "1", "selfemo.run": "unit", "selfemo.gate_reason": "no gain"}
    number = registry.versions.register(f"s3://bucket/{name}", registry.round(1), tags)
    registry.client.update_model_version(registry.model, number, "**Status:** not known\n\nThe rest.")
    return number


def described(registry: Registry, number: str) -> str:
    return str(registry.versions.get(number).description)


def row(number: int, **values: Any) -> RoundRow:
    plain: dict[str, Any] = {"accepted": 9, "rejected": 1, "mean_reward": 0.5, "accuracy": 0.6, "weighted_f1": 0.5}
    more: dict[str, Any] = {
        "weighted_f1_interval": (0.4, 0.6),
        "expression_own": None,
        "expression_judge": None,
        "seconds": 3.0,
    }
    return RoundRow(**{"round": number, "promoted": not number, **plain, **more, **values})


def test_an_experiment_opens_on_runs_and_says_what_to_look_at(registry: Registry) -> None:
    tags = registry.client.get_experiment(registry.experiment).tags
    assert (tags[KIND], tags[NOTE]) == ("custom_model_development", ABOUT)


def test_one_that_was_made_by_hand_is_told_the_same_and_keeps_what_it_says_itself(registry: Registry) -> None:
    made = registry.client.create_experiment("self-emo", tags={NOTE: "ours: ask Ann"})
    assert registry.experiment == made
    tags = registry.client.get_experiment(made).tags
    assert (tags[KIND], tags[NOTE]) == ("custom_model_development", "ours: ask Ann")


def test_the_note_of_a_run_has_its_rounds_each_with_its_page(registry: Registry) -> None:
    rows = [row(0, became=RoundFate.PROMOTED), row(1, stopped=HOSTILE)]
    pages.write_note(registry, registry.parent, pages.run_note(registry, rows))
    note = registry.client.get_run(registry.parent).data.tags[NOTE]
    assert f"[1](#/experiments/{registry.experiment}/runs/{registry.round(1)}?workflowType=machine_learning)" in note
    assert "Round 0 became champion: weighted F1 0.500 [0.400, 0.600]." in note
    assert "Round 1 was stopped: &#60;script&#62;" in note


def test_a_note_that_somebody_has_changed_stays(registry: Registry) -> None:
    run = registry.parent
    for text in ("one", "two"):
        pages.write_note(registry, run, text)
        assert registry.client.get_run(run).data.tags[NOTE] == text
    registry.tags(run, {NOTE: "best run so far"})
    pages.write_note(registry, run, "three")
    assert registry.client.get_run(run).data.tags[NOTE] == "best run so far"


def test_a_round_says_what_it_made(registry: Registry) -> None:
    said = pages.round_note(registry, row(1), HOSTILE, "3")
    assert "[version 3](#/models/self-emo/versions/3?workflowType=machine_learning)" in said
    assert "It made no version." in pages.round_note(registry, row(1), "nothing was kept", "")


def test_descriptions_follow_the_aliases(registry: Registry) -> None:
    first, second = version(registry, "a"), version(registry, "b")
    follow(registry)
    assert described(registry, second) == "**Status:** not promoted: no gain\n\nThe rest."
    registry.champion.promote(first, passed=True, reason="first")
    registry.champion.promote(second, passed=False, force=True, reason="a person's word")
    follow(registry)
    assert described(registry, first).startswith("**Status:** champion once, since ")
    assert "against the gate: a person's word" in described(registry, second)
    assert "[version 2](#/models/self-emo/versions/2?" in registry.client.get_registered_model("self-emo").description
    registry.champion.rollback("it shouts")
    follow(registry)
    assert re.match(
        r"\*\*Status:\*\* rolled back, .*: it shouts\n\nThe rest\.$", described(registry, second), re.DOTALL
    )
    assert "[version 1](#/models/self-emo/versions/1?" in registry.client.get_registered_model("self-emo").description
    registry.canary.start(second, first, passed=True, reason="better now")
    follow(registry)
    assert described(registry, second).startswith("**Status:** canary since ")


def test_a_description_that_somebody_wrote_stays(registry: Registry) -> None:
    number = version(registry, "a")
    registry.client.update_model_version(registry.model, number, "the one for the fair")
    registry.client.update_registered_model(registry.model, "our model")
    registry.champion.promote(number, passed=True, reason="first")
    follow(registry)
    assert described(registry, number) == "the one for the fair"
    assert registry.client.get_registered_model(registry.model).description == "our model"


def test_a_server_that_takes_no_words_stops_nothing(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    number = version(registry, "a")
    registry.client.delete_run(registry.round(1))
    pages.write_note(registry, "0" * 32, "x")
    assert "the note of a run could not be written" in caplog.text
    assert described(registry, number)


@pytest.mark.parametrize("made", [escaped, code], ids=["escaped", "code"])
@pytest.mark.parametrize("around", ["{}", "# {}", "- {}", "| a | b |\n|---|---|\n| {} | x |"])
def test_what_others_wrote_is_no_markup(made: Callable[[str], str], around: str) -> None:
    text = made(HOSTILE)
    plain = MarkdownIt("commonmark").enable("table").render(around.format(made("word")))
    page = MarkdownIt("commonmark").enable("table").render(around.format(text))
    assert re.findall(r"<[^>]*>", page) == re.findall(r"<[^>]*>", plain)
    bare = re.findall(r"https?://|www\.|\w@", text)  # what other renderers make links of by themselves
    assert not bare or text.startswith("`")


def test_a_table_holds_its_cells() -> None:
    assert table(("a", "b"), [(escaped("x|y"), "z")]) == "| a | b |\n|---|---|\n| x&#124;y | z |"


def test_links_go_where_people_open_mlflow(registry: Registry) -> None:
    """On a cluster its Service has a name that no browser knows."""
    public = registry.config.mlflow.model_copy(update={"public_uri": "https://mlflow.example.org/"})
    seen = Registry(registry.tracking_uri, registry.config.model_copy(update={"mlflow": public}))
    run = seen.round(1)
    assert seen.link(1).startswith(f"https://mlflow.example.org/#/experiments/{seen.experiment}/runs/{run}?")
    assert str(seen.pages()[1]).startswith("https://mlflow.example.org/#/experiments/")


def test_addresses_are_of_what_is_there_and_nothing_is_made(registry: Registry, tmp_path: Path) -> None:
    assert registry.pages() == (None, registry.tracking_uri)  # a database has no pages
    assert registry.client.get_experiment_by_name("self-emo") is None
