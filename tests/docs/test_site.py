"""`make docs`: the site builds without a warning, is as its pages are written, and asks the network for nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from selfemo.cli import main
from selfemo.config import Config
from tests.docs.pages import ROOT, pages, tokens

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("material") is None, reason="wants the extra docs: mkdocs-material is not installed"
)
MADE = {"docs/index.md", *(f"docs/reference/{name}.md" for name in ("commands", "configuration", "library", "method"))}
"""Pages that are made of something else than their text."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    out = tmp_path_factory.mktemp("site")
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


class Tags(HTMLParser):
    """Counts the tags of a page's own part, and keeps what a browser would fetch for the whole page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.inside |= tag == "article"
        self.counts[tag] += self.inside
        if tag in ("script", "img", "iframe", "source") or (tag == "link" and values.get("rel") != "canonical"):
            self.fetched += [url for url in (values.get("src"), values.get("href"), values.get("srcset")) if url]

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "article"


def test_every_page_is_a_page_of_the_site_with_all_that_it_has(site: Path) -> None:
    for page in set(pages()) - MADE - {"README.md"}:
        if page.startswith("docs/") and page.endswith(".md"):
            html = (site / page.removeprefix("docs/")).with_suffix(".html").read_text(encoding="utf-8")
            written = Counter(token.type for token in tokens(page))
            shown = Tags(html).counts
            assert shown["pre"] == written["fence"] + written["code_block"], f"{page}: blocks of code"
            for tag, kind in {"table": "table", "tr": "tr", "li": "list_item"}.items():
                assert shown[tag] == written[f"{kind}_open"], f"{page}: <{tag}>"


def test_the_reference_has_every_command_and_every_setting(site: Path) -> None:
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert [name for name in main.commands if f">selfemo {name}<" not in commands] == []
    settings = (site / "reference" / "configuration.html").read_text(encoding="utf-8")

    def missing(section: Any, prefix: str) -> Iterator[str]:
        for name, field in section.model_fields.items():
            key = re.sub(r"(?<=pods\.)\w+", "KIND", f"{prefix}{name}")
            if hasattr(field.annotation, "model_fields"):
                yield from missing(field.annotation, f"{prefix}{name}.")
            elif not field.description:
                yield f"{key} does not say what it is"
            elif f"<code>{key}" not in settings and f'id="{name}"' not in settings:
                yield key

    assert list(missing(Config, "")) == []


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    asked = {url for page in site.rglob("*.html") for url in Tags(page.read_text(encoding="utf-8")).fetched}
    assert [url for url in asked if re.match(r"[a-z]+:|//", url) and not url.startswith("data:")] == []
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*", styles) == []


@pytest.mark.skipif(
    not shutil.which("chromium") or not shutil.which("chromedriver"), reason="wants chromium, chromedriver"
)
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_opens_the_files_without_an_error_or_a_request_and_finds_what_is_searched(
    site: Path, dark: bool
) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        narrow = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
        for page in ("index", "method", "reference/configuration"):
            browser.get((site / f"{page}.html").as_uri())
            width = browser.execute_script("return document.documentElement.scrollWidth")
            assert width <= 400, f"{page} is wider than a phone"
        browser.execute_script("document.querySelector('[data-md-component=search-query]').value = 'permutation test'")
        browser.execute_script("document.querySelector('[data-md-component=search-query]').focus()")
        browser.execute_script(
            "document.querySelector('[data-md-component=search-query]').dispatchEvent(new Event('keyup'))"
        )
        WebDriverWait(browser, 30).until(lambda b: b.find_elements(By.CSS_SELECTOR, ".md-search-result__item"))
        assert browser.get_log("browser") == []
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert asked and [url for url in asked if not url.startswith(("file:", "data:"))] == []
    finally:
        browser.quit()
