"""Specifications as pictures, by vl-convert: Vega within this process, without a browser and without a network."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

from selfemo.report.figure import PAGE, PAPER, Figure, Spec, theme

WIDTH = 440
"""Of a chart that takes what room there is, where the room is a picture's."""
COLUMNS = 3
"""Of a picture with several charts."""
DRAWN = ("LATIN", "GREEK", "CYRILLIC")
"""How the names of the characters begin that every machine's fonts have."""
MEASURED = "'Liberation Sans', Arial, Helvetica, sans-serif"
"""Fonts of one width, which vl-convert has measured: with another that the browser has, labels would be cut off."""
SCALE = 2.0
"""Dots of a PNG for each of the chart's, so that it is sharp on today's screens."""


def png(figure: Figure) -> bytes:
    """All charts of a figure as one PNG, on white, under its title."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(whole(figure), config=on_paper(), scale=SCALE))


def whole(figure: Figure) -> Spec:
    """All charts of a figure as one specification, under its title."""
    panels = [_sized(panel.spec, WIDTH) | ({"title": panel.title} if panel.title else {}) for panel in figure.panels]
    scales = "shared" if figure.one_legend else "independent"
    together: Spec = {
        "$schema": panels[0].get("$schema", ""),
        "title": {"text": figure.title, "fontSize": 16, "offset": 14},
        "concat": [{k: v for k, v in panel.items() if k not in ("$schema", "autosize")} for panel in panels],
        "columns": 2 if len(panels) == 4 else COLUMNS,
        "spacing": 32,
        "resolve": {"scale": dict.fromkeys(("color", "shape", "strokeDash", "size"), scales)},
    }
    return drawable(together)


def on_paper() -> Spec:
    """The theme of a picture on white."""
    return theme(PAPER) | {"background": PAPER.page, "padding": 16}


def svg(spec: Spec, width: int = WIDTH) -> str:
    """One chart as SVG, in the colours of the page that it is put into."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(_sized(spec, width), config=theme(PAGE) | {"font": MEASURED}))


@cache
def script() -> str:
    """Vega with all it needs, as one script that defines ``vegaEmbed``; some seconds, the first time in a process."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")


def drawable(spec: Spec) -> Spec:
    """A specification in which what the fonts of a bare machine lack is a number: a browser shows any script."""
    numbers: dict[str, str] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return value if _has_glyphs(value) else numbers.setdefault(value, f"#{len(numbers) + 1}")
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    return dict(plain(spec))


def _has_glyphs(text: str) -> bool:
    return all(c.isascii() or unicodedata.name(c, "").split(" ")[0] in DRAWN for c in text)


def _sized(spec: Spec, width: int) -> dict[str, Any]:
    return spec | ({"width": width} if spec.get("width") == "container" else {})
