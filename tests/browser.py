"""A headless Chromium, for tests of pages as people and their keyboards meet them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def chromium(width: int = 900, height: int = 900) -> Iterator[Any]:
    """A browser of selenium's, closed in the end; the test is skipped where there is none.

    Args:
        width: Of the window.
        height: Of the window.
    """
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no browser here: install chromium and chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = binary
    arguments = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}")
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = Chrome(options, ChromeService(driver))
    try:
        yield found
    finally:
        found.quit()


def errors(browser: Any) -> list[str]:
    """What the console has complained about since it was last asked."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
