"""The report in a real Chromium: it draws, it is searched and read by keys alone, and a screen reader can follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from selfemo.report.page import report_page
from tests.browser import chromium, errors
from tests.unit.report import made

AXE = """
const done = arguments[arguments.length - 1];
axe.run({ exclude: [[".plot svg"]] }, { resultTypes: ["violations"] }).then((found) => done(
  found.violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html.slice(0, 99)).join(" ")}`)));
"""
"""What axe finds. A chart is an image to a screen reader: its label speaks for it, and the table below."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(1100, 900) as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("report")
    page = report_page(made.run_of(directory), made.GIVEN, {1: "2"}, {})
    (directory / "report.html").write_text(page, encoding="utf-8")
    return (directory / "report.html").as_uri()


@pytest.fixture
def opened(browser: Any, address: str) -> Any:
    browser.get(address)
    until(browser, lambda: "4 of 4" in text(browser, "#found"))
    return browser


def until(browser: Any, happened: Callable[[], object]) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60, poll_frequency=0.05).until(lambda _: happened())


def text(browser: Any, selector: str) -> str:
    return str(browser.find_element("css selector", selector).text)


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def focused(browser: Any) -> Any:
    return browser.switch_to.active_element


def tab_to(browser: Any, fits: Callable[[Any], bool]) -> None:
    """Press Tab until what has the focus fits; people have no other way without a mouse."""
    from selenium.webdriver import Keys

    for _ in range(200):
        if fits(focused(browser)):
            return
        press(browser, Keys.TAB)
    raise AssertionError("Tab does not lead there")


def test_every_chart_of_every_round_is_drawn_and_nothing_hostile_runs(opened: Any) -> None:
    count = "return document.querySelectorAll('.round:not([hidden]) .plot, #rounds .plot').length"
    drawn = "return document.querySelectorAll('.round:not([hidden]) .plot svg, #rounds .plot svg').length"
    for choice in opened.find_elements("css selector", "#picker label"):
        choice.click()
        opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
        until(opened, lambda: opened.execute_script(drawn) == opened.execute_script(count) > 5)
    assert opened.execute_script("return document.querySelectorAll('.plot svg path').length") > 100
    assert opened.title.startswith("self-emo: made up </script>")
    assert errors(opened) == []


def test_a_conversation_is_found_and_opened_by_keys_alone(opened: Any) -> None:
    from selenium.webdriver import Keys

    tab_to(opened, lambda one: one.get_attribute("name") == "round")
    press(opened, Keys.ARROW_LEFT)
    assert opened.find_element("css selector", ".round[data-round='1']").is_displayed()
    assert not opened.find_element("css selector", ".round[data-round='2']").is_displayed()
    tab_to(opened, lambda one: one.get_attribute("id") == "words")
    press(opened, *"ＮＥＥＤＬＥ in round 2")  # whatever its width and case
    until(opened, lambda: text(opened, "#found") == "1 of 4 conversations")
    tab_to(opened, lambda one: one.tag_name == "summary" and "Corpus dialogue" in one.text)
    press(opened, Keys.ENTER)
    until(opened, lambda: text(opened, "#list mark") == "needle in round 2")
    assert "gold" in text(opened, "#list .talk") and made.HOSTILE in text(opened, "#list .talk")
    assert opened.title.startswith("self-emo: made up")  # it is text, and was not run
    assert errors(opened) == []


def test_what_was_rejected_for_a_reason_is_found_and_says_where_what_was_kept_came_from(opened: Any) -> None:
    from selenium.webdriver.support.select import Select

    Select(opened.find_element("id", "why")).select_by_visible_text("unparseable")
    until(opened, lambda: text(opened, "#found") == "2 of 4 conversations")
    opened.find_element("css selector", "#list summary").click()
    until(opened, lambda: opened.find_elements("css selector", "#list .replies"))
    first = opened.find_element("css selector", "#list .replies").text
    assert "unparseable" in first and "read as anger 80 %" in first and "became the next turn" in first
    opened.find_element("xpath", "//summary[.='Lineage of what was kept']").click()
    way = text(opened, "#list .way")
    assert "seed dialogue sample/train/9 of sample" in way
    assert "played by made/round-0/train-1 (trained in round 0)" in way
    assert "learnt by made/round-1/train-1: promoted" in way


def test_the_page_fits_a_phone(opened: Any) -> None:
    size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        until(opened, lambda: opened.execute_script("return document.body.scrollWidth") <= 360)
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_serious_to_say(opened: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python.base", reason="axe is not here: pip install axe-core-python")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for summary in opened.find_elements("css selector", "#list summary"):
        summary.click()
    opened.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    until(opened, lambda: opened.find_elements("css selector", ".round:not([hidden]) .plot svg"))
    opened.execute_script(axe.AXE_SCRIPT)
    opened.set_script_timeout(300)
    serious = opened.execute_async_script(AXE)
    assert serious == []
