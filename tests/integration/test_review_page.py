"""The page on which a person labels turns, in a real Chromium, by keys alone; and what other pages cannot do to it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from selfemo.data.corrections import collected_id
from selfemo.data.dialogue import Utterance
from selfemo.data.feedback import Feedback
from selfemo.data.labels import LabelSpace
from selfemo.review.asked import Asked
from selfemo.review.page import application
from selfemo.services.network import free_ports
from selfemo.serving.server import server

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
LABELS = ("joy", "anger", "Erleichterung", "喜び", *(f"label {n}" for n in range(24)))
SPACE = LabelSpace("talk", LABELS, descriptions={"Erleichterung": "relief"})


def turn(number: int, text: str) -> Asked:
    history = (Utterance(speaker="B", text="Before."),) * number
    said = Utterance(speaker="A", text=text)
    chances = {"joy": 0.4, "anger": 0.3}
    return Asked(collected_id("talk", "a"), number, SPACE, history, said, chances, ("unsure: joy 40%",))


TURNS = [turn(0, HOSTILE), turn(1, "Second."), turn(2, "Third.")]


@pytest.fixture
def place(tmp_path: Path) -> Feedback:
    return Feedback.at(str(tmp_path / "back"))


def labels_of(place: Feedback) -> dict[int, tuple[str, ...]]:
    return {row.turn: row.labels for row in place.corrections()}


def test_only_the_pages_own_requests_are_answered(place: Feedback) -> None:
    client = TestClient(application(TURNS, place, "ada", "secret"), base_url="http://127.0.0.1")
    own = {"x-selfemo-token": "secret"}
    said = {"dialogue": TURNS[0].dialogue, "turn": 0, "labels": ["joy"]}
    assert client.get("/turns").status_code == 403
    assert client.post("/label", json=said).status_code == 403
    assert client.post("/label", json=said, headers={"x-selfemo-token": "sécret".encode()}).status_code == 403
    assert client.get("/turns", headers={**own, "host": "rebound.example"}).status_code == 400
    assert "default-src 'none'" in client.get("/").headers["content-security-policy"]
    for wrong in ({"turn": 7}, {"labels": ["sad"]}, {"dialogue": "talk/collected/other"}):
        assert client.post("/label", json={**said, **wrong}, headers=own).status_code == 400
    assert labels_of(place) == {}
    assert client.post("/label", json=said, headers=own).status_code == 200
    assert labels_of(place) == {0: ("joy",)}


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no browser here: install chromium and chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=900,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = Chrome(options, ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture
def address(place: Feedback) -> Iterator[str]:
    (port,) = free_ports(1)
    serving = server(application(TURNS, place, "ada", "secret"), "127.0.0.1", port)
    thread = threading.Thread(target=serving.run, daemon=True)
    thread.start()
    while not serving.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/#secret"
    serving.should_exit = True
    thread.join()


def test_turns_are_labelled_skipped_and_undone_by_keys(browser: Any, address: str, place: Feedback) -> None:
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.support.ui import WebDriverWait

    def until(happened: Callable[[], object]) -> None:
        WebDriverWait(browser, 60, poll_frequency=0.05).until(lambda _: happened())

    def text(name: str) -> str:
        return str(browser.find_element("id", name).text)

    def press(*keys: str) -> None:
        for key in keys:
            ActionChains(browser).send_keys(key).perform()

    browser.get(address)
    until(lambda: "1 of 3" in text("progress"))
    assert text("said") == f"A: {HOSTILE}"
    press("2", "1", Keys.ENTER)  # the primary label first
    until(lambda: "2 of 3" in text("progress"))
    assert labels_of(place) == {0: ("anger", "joy")}
    press("/", *"relief", Keys.ENTER)  # found by what it means
    until(lambda: "3 of 3" in text("progress"))
    assert labels_of(place)[1] == ("Erleichterung",)
    press("u")
    until(lambda: "2 of 3" in text("progress"))
    assert labels_of(place) == {0: ("anger", "joy")}
    press("s", "s")
    until(lambda: browser.find_element("id", "done").is_displayed())
    press("u", Keys.ENTER)
    until(lambda: text("error") == "Choose a label first, or skip the turn.")
    assert labels_of(place) == {0: ("anger", "joy")}
    assert browser.title == "self-emo review"  # nothing of what was said was run
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
