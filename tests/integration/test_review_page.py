"""The page on which a person labels turns, in a real Chromium, by keys alone; and what other pages cannot do to it."""

from __future__ import annotations

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
from selfemo.review.sitting import Sitting
from selfemo.services.network import free_ports
from selfemo.serving.server import server
from tests.browser import chromium, errors

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
LABELS = ("joy", "anger", "Erleichterung", "喜び", *(f"label {n}" for n in range(24)))
SPACE = LabelSpace("talk", LABELS, aliases={"glad": "joy"}, descriptions={"Erleichterung": "relief"})


def turn(number: int, text: str) -> Asked:
    history = (Utterance(speaker="B", text="Before."),) * number
    said = Utterance(speaker="A", text=text)
    chances = {"joy": 0.4, "anger": 0.3}
    return Asked(collected_id("talk", "a"), number, SPACE, history, said, chances, ("unsure: joy 40%",))


TURNS = [turn(0, HOSTILE), turn(1, "مرحبا"), turn(2, "Third.")]


@pytest.fixture
def place(tmp_path: Path) -> Feedback:
    return Feedback.at(str(tmp_path / "back"))


def labels_of(place: Feedback) -> dict[int, tuple[str, ...]]:
    return {row.turn: row.labels for row in place.corrections()}


@pytest.fixture
def client(place: Feedback) -> TestClient:
    made = TestClient(application(Sitting(TURNS, place, "ada"), "secret"), base_url="http://127.0.0.1")
    made.headers["x-selfemo-token"] = "secret"
    return made


def test_only_the_pages_own_requests_are_answered(client: TestClient, place: Feedback) -> None:
    said = {"at": 0, "labels": ["joy"]}
    for wrong in ("", "secre", "sécret".encode()):
        token: Any = {"x-selfemo-token": wrong}  # text or bytes, which are never mixed
        assert client.get("/turns", headers=token).status_code == 403
        for path in ("/label", "/skip", "/undo"):
            assert client.post(path, json=said, headers=token).status_code == 403
    assert client.get("/turns", headers={"host": "rebound.example"}).status_code == 400
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert labels_of(place) == {}
    assert client.post("/label", json=said).status_code == 200
    assert labels_of(place) == {0: ("joy",)}


@pytest.mark.parametrize("wrong", [{"at": 7}, {"at": -1}, {"labels": ["sad"]}, {"labels": []}, {"more": 1}])
def test_what_is_no_label_of_a_turn_is_refused(client: TestClient, place: Feedback, wrong: dict[str, Any]) -> None:
    answer = client.post("/label", json={"at": 0, "labels": ["joy"], **wrong})
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]
    assert labels_of(place) == {}


def test_a_page_that_is_loaded_again_goes_on_where_the_sitting_is(client: TestClient, place: Feedback) -> None:
    client.post("/skip", json={"at": 1})
    client.post("/label", json={"at": 0, "labels": ["anger", "joy", "anger"]})
    assert client.get("/turns").json()["past"] == [[1, False], [0, True]]
    assert labels_of(place) == {0: ("anger", "joy")}
    assert client.post("/undo").json() == {"past": [[1, False]]}
    assert labels_of(place) == {}
    assert client.post("/undo").json() == {"past": []}
    assert client.post("/undo").json() == {"detail": "there is nothing to undo"}


def test_what_cannot_be_written_is_said_and_can_be_tried_again(
    client: TestClient, place: Feedback, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Feedback, "add_corrections", lambda self, rows: full(rows))
        answer = client.post("/label", json={"at": 0, "labels": ["joy"]})
    assert (answer.status_code, answer.json()) == (503, {"detail": "it could not be written: No space left on device"})
    assert client.get("/turns").json()["past"] == []
    assert client.post("/label", json={"at": 0, "labels": ["joy"]}).json() == {"past": [[0, True]]}


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture
def address(place: Feedback) -> Iterator[str]:
    (port,) = free_ports(1)
    serving = server(application(Sitting(TURNS, place, "ada"), "secret"), "127.0.0.1", port)
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
    assert text("said") == f"A\n{HOSTILE}"
    press("2", "1", Keys.ENTER)  # the primary label first
    until(lambda: "2 of 3" in text("progress"))
    assert labels_of(place) == {0: ("anger", "joy")}
    assert browser.execute_script("return getComputedStyle(document.querySelector('#said div div')).direction") == "rtl"
    press("/", *"relief", Keys.ENTER)  # found by what it means, and chosen
    until(lambda: text("chosen") == "Chosen: Erleichterung")
    press(*"ＬＡＢＥＬ 1", Keys.ENTER)  # the one of that name, not the one that begins so; whatever its width
    press(*"glad", Keys.ENTER)
    until(lambda: text("chosen") == "Chosen: Erleichterung, label 1, joy")
    press(*"nothing", Keys.ENTER)
    until(lambda: text("error") == "No label is called that: Escape clears it.")
    assert 1 not in labels_of(place)
    press(Keys.ESCAPE, Keys.ENTER)
    until(lambda: "3 of 3" in text("progress"))
    assert labels_of(place)[1] == ("Erleichterung", "label 1", "joy")
    browser.refresh()
    until(lambda: text("progress") == "3 of 3 · 2 labelled")
    press("u")
    until(lambda: "2 of 3" in text("progress"))
    assert labels_of(place) == {0: ("anger", "joy")}
    press("s", "s")  # as fast as keys come
    until(lambda: browser.find_element("id", "done").is_displayed())
    press("u", Keys.ENTER)
    until(lambda: text("error") == "Choose a label first, or skip the turn.")
    assert labels_of(place) == {0: ("anger", "joy")}
    first = browser.find_element("css selector", "[data-label=joy]")
    browser.execute_script("arguments[0].focus()", first)
    press(Keys.SPACE)  # by Tab and Space too, and Tab goes on from there
    until(lambda: text("chosen") == "Chosen: joy")
    assert browser.switch_to.active_element.get_attribute("data-label") == "joy"
    assert browser.title == "self-emo review"  # nothing of what was said was run
    assert errors(browser) == []
