"""The report's figures: what is drawn is what is counted, whoever draws it."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files
from types import SimpleNamespace
from typing import cast

import pytest

from selfemo.method.flywheel.reasons import Reason
from selfemo.report import data_charts, draw, run_charts, score_charts
from selfemo.report.evidence import Round
from selfemo.report.figure import PAGE, PAPER, Figure
from selfemo.report.sections import over, section_of, summary, tiles
from selfemo.shown import duration
from tests.unit.report.made import run_of

STYLE = files("selfemo.report").joinpath("templates/page.css").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> list[Round]:
    return run_of(tmp_path_factory.mktemp("rounds"))


def figures(rounds: list[Round]) -> list[Figure]:
    return [*over(rounds), *section_of(rounds[-1], {}).figures]


def test_every_figure_has_a_sentence_and_its_numbers(rounds: list[Round]) -> None:
    found = figures(rounds)
    assert {f.key for f in found} == {
        "rounds",
        "gains",
        "reasons",
        "confusion-sample",
        "labels-sample",
        "reliability-sample",
        "risk-sample",
        "rewards",
        "mix-sample",
        "voices",
        "training",
    }
    for figure in found:
        assert figure.says and figure.rows and figure.panels
        assert {len(row) for row in figure.rows} == {len(figure.headers)}


def test_a_specification_is_what_vega_lite_takes(rounds: list[Round]) -> None:
    """Nothing holds it against Vega-Lite's schema where it is drawn."""
    import altair as alt

    for figure in figures(rounds):
        for panel in figure.panels:
            alt.Chart.from_dict({k: v for k, v in panel.spec.items() if k != "autosize"})  # and raises where it is not


def test_a_specification_holds_no_colour(rounds: list[Round]) -> None:
    """The page has light and dark, and a picture is on white: the theme has the colours."""
    for figure in figures(rounds):
        for panel in figure.panels:
            text = str(panel.spec)
            assert "var(--" not in text and "'#" not in text


def test_the_confusion_matrices_have_the_turns_of_before_and_after(rounds: list[Round]) -> None:
    figure = score_charts.confusion(rounds[2], "sample")
    assert [panel.title for panel in figure.panels] == ["before: the champion", "after round 2"]
    for panel in figure.panels:
        assert sum(cell["turns"] for cell in panel.spec["data"]["values"]) == 72
    assert sum(int(n) for row in figure.rows for n in row[2:]) == 2 * 72


def test_a_round_in_which_nothing_was_trained_compares_nothing(rounds: list[Round]) -> None:
    assert [name for name, _ in score_charts.pairs(rounds[0])] == ["after round 0"]


def test_reasons_are_those_of_the_candidates_one_by_one(rounds: list[Round]) -> None:
    kept = rounds[1].kept
    assert kept is not None
    one_by_one = Counter(reason for row in kept.outcomes.values() for reason in row.reasons)
    counted: Counter[str] = sum((Counter(c) for c in kept.told["reasons"].values()), Counter())
    assert one_by_one == +counted
    assert len(one_by_one) > 2
    figure = data_charts.reasons([rounds[1]])
    assert figure is not None
    assert sum(int(row[3]) for row in figure.rows) == sum(one_by_one.values()) == kept.told["metrics"]["candidates"]


def filtered(number: int, reasons: dict[str, int]) -> Round:
    """A round of which nothing is known but what the filter made of its replies."""
    return cast(Round, SimpleNamespace(number=number, kept=SimpleNamespace(told={"reasons": {"expression": reasons}})))


def test_what_became_of_a_candidate_has_one_colour_in_all_figures_and_shares_it_with_nothing_else() -> None:
    """One figure is of all rounds, and each round has its own: people compare them."""
    every = {reason.name.lower(): 1 for reason in Reason}
    colours = set()
    for rounds in ([filtered(1, every)], [filtered(1, {"over_quota": 3, "kept": 1})]):
        figure = data_charts.reasons(rounds)
        assert figure is not None
        encoding = figure.panels[0].spec["encoding"]["color"]
        there = {row[2] for row in figure.rows}
        assert set(encoding["legend"]["values"]) == there
        colours.add(tuple(encoding["scale"]["domain"]))
    (order,) = colours
    assert len(set(PAPER.series)) == len(PAPER.series) >= len(set(order)) == len(Reason)


def test_a_reason_of_another_version_is_drawn_too() -> None:
    figure = data_charts.reasons([filtered(1, {"kept": 1, "wrong_label": 2})])
    assert figure is not None
    color = figure.panels[0].spec["encoding"]["color"]
    assert color["legend"]["values"] == ["kept", "wrong label"]
    assert color["scale"]["domain"][-1] == "wrong label"


def test_colours_can_be_seen_on_their_ground_in_light_and_in_dark() -> None:
    """WCAG 2.2 asks for a contrast of 3 to 1 of what is drawn."""
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in STYLE.split("@media", 2)[:2]]
    light, dark = schemes
    assert tuple(light[f"c{n}"] for n in range(1, len(PAGE.series) + 1)) == PAPER.series
    for scheme in schemes:
        for colour in PAGE.series:
            assert contrast(scheme[colour[6:-1]], scheme["page"]) >= 3, colour
    assert light["page"] != dark["page"]


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG defines it."""
    lights = []
    for colour in (one, other):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        lights.append(sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_rewards_and_confidence_count_each_candidate_once(rounds: list[Round]) -> None:
    kept = rounds[1].kept
    assert kept is not None
    figure = data_charts.distributions(kept)
    assert figure is not None
    for title in {row[0] for row in figure.rows}:
        assert sum(int(row[3]) for row in figure.rows if row[0] == title) == kept.told["metrics"]["candidates"]


def test_the_gains_are_the_gates(rounds: list[Round]) -> None:
    figure = run_charts.gains(rounds)
    assert figure is not None
    assert [row[0] for row in figure.rows] == ["1", "2"]
    assert run_charts.gains(rounds[:1]) is None


def test_the_run_in_two_sentences_says_who_was_promoted(rounds: list[Round]) -> None:
    assert "The policy of round 1 was better than the champion beyond chance" in summary(rounds)
    assert "No round of self-play" in summary(rounds[:1])


def test_the_numbers_on_top_say_what_a_gain_is_in_and_times_as_people_say_them(rounds: list[Round]) -> None:
    shown = {name: (value, note) for name, value, note in tiles(rounds)}
    gain = rounds[-1].decision.gains["sample"]
    assert shown["Last challenger's gain"][1].startswith(f"in {gain.figure}, p\u00a0{gain.p:.4f}: ")
    assert shown["Time of all steps"][0] == duration(sum(r.row.seconds for r in rounds))


def test_a_loss_that_diverged_is_a_gap_and_breaks_no_page() -> None:
    figure = data_charts.training([{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}])
    assert figure is not None
    assert [point["value"] for point in figure.panels[0].spec["data"]["values"]] == [2.0, None]
    assert figure.rows[1] == ("2", "nan")
    assert draw.png(figure).startswith(b"\x89PNG")


def test_a_picture_is_drawn_of_the_same_specification(rounds: list[Round]) -> None:
    picture = draw.png(score_charts.by_label(rounds[2], "sample"))
    assert picture.startswith(b"\x89PNG")
    assert picture == draw.png(score_charts.by_label(rounds[2], "sample"))


def test_what_the_fonts_of_a_bare_machine_lack_is_a_number_in_a_picture_and_itself_in_the_page() -> None:
    spec = {"data": {"values": [{"label": "喜び"}, {"label": "joie"}]}, "sort": ["喜び", "joie"]}
    assert draw.drawable(spec) == {"data": {"values": [{"label": "#1"}, {"label": "joie"}]}, "sort": ["#1", "joie"]}
