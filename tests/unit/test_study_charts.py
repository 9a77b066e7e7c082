"""A study's pictures: every variant can be told from the others, by its whole title and its own colour."""

from __future__ import annotations

from selfemo.report import draw
from selfemo.report.figure import Figure
from selfemo.study import charts
from selfemo.study.stats import Estimate


def test_the_charts_of_rounds_have_one_legend_of_what_is_drawn_and_no_title_is_cut() -> None:
    """Each of seven charts had a legend of its own, and two variants whose titles begin alike looked the same."""
    long = "a variant whose title says at some length what it does, and in what it differs"
    runs: dict[str, list[list[tuple[float, float]]]] = {"no rounds": [[]], "ours": [[(1, 0.5)]], long: [[(1, 0.25)]]}
    figure = charts.curves({"kept right": runs, "acceptance": runs}, "Rounds")
    domains = [panel.spec["encoding"]["color"]["scale"]["domain"] for panel in figure.panels]
    assert domains == [["ours", long]] * 2
    assert picture_of(figure).count(f">{long}</text>") == 1
    gains = charts.gains([long], {"accuracy": [Estimate(0.1, 0.0, 0.2)]}, "Gains")
    assert f">{long}</text>" in picture_of(gains)


def picture_of(figure: Figure) -> str:
    """A figure's picture as SVG, in which its words can be read."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(draw.whole(figure), config=draw.on_paper()))
