"""The report as a file: nothing runs in it but its own scripts, nothing is loaded, and it is small enough to send."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from selfemo.report.conversations import packed
from selfemo.report.page import report_page
from tests.unit.report import made


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    rounds = made.run_of(tmp_path_factory.mktemp("rounds"))
    return report_page(rounds, made.GIVEN, {1: "2"}, {})


def scripts(page: str) -> list[str]:
    """What the page runs."""
    return re.findall(r"<script>(.*?)</script>", page, re.DOTALL)


def talks(page: str) -> Any:
    """The conversations in a page."""
    (text,) = re.findall(r'id="packed">(.*?)</script>', page)
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_text_from_elsewhere_is_no_markup(page: str) -> None:
    assert "made up &lt;/script&gt;&lt;img" in page
    assert "<img" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    (data,) = re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data)["charts"]


def test_the_pages_policy_names_its_scripts_by_their_hashes_and_lets_nothing_be_loaded(page: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy).split(";"))
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts(page)]
    assert len(hashes) == 3
    assert rules["script-src"] == " ".join(f"'sha256-{h}'" for h in hashes)
    assert rules["default-src"] == "'none'" and "connect-src" not in rules
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(src|href)="(?!#|data:)', outside)


def test_a_conversation_has_all_that_was_sampled_and_read_in_it_and_why(page: str) -> None:
    found = talks(page)
    assert [(item["kind"], item["round"]) for item in found] == [
        ("self-play", 1),
        ("corpus", 1),
        ("self-play", 2),
        ("corpus", 2),
    ]
    first, second = found[0]["turns"]
    assert [reply["why"] for reply in first["replies"]] == ["unparseable", "kept", "low_reward"]
    assert (first["chosen"], second["chosen"]) == (2, 1)
    assert first["replies"][1]["read"][0] == ["joy", 80]
    assert first["replies"][1]["text"] == made.HOSTILE
    turn = found[1]["turns"][1]
    assert turn["voices"].keys() == {"recogniser, 24 turns", "responder"}
    assert turn["gold"] == turn["target"] == [made.SPACE.labels[1]]
    assert {s["task"] for s in first["samples"]} == {"expression", "understanding"}


def test_a_run_that_failed_before_a_round_was_decided_has_a_page_too() -> None:
    page = report_page([], {**made.GIVEN, "failure": "<b>it broke</b>"}, {}, {})
    assert "&lt;b&gt;it broke&lt;/b&gt;" in page
    assert scripts(page) == []


def of_meld_size(some: list[Any]) -> list[Any]:
    """Three rounds, each of which reads all of MELD's 1038 training dialogues and plays 300 episodes, with other words.

    Args:
        some: Conversations of a small run.
    """
    rng = random.Random(7)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(8000)]

    def reworded(item: Any) -> Any:
        if isinstance(item, dict):
            return {
                key: " ".join(rng.choices(words, k=10)) if key == "text" else reworded(v) for key, v in item.items()
            }
        return [reworded(inner) for inner in item] if isinstance(item, list) else item

    played, read = (next(item for item in some if item["kind"] == kind) for kind in ("self-play", "corpus"))
    played = {**played, "turns": 2 * [{**turn, "replies": 2 * turn["replies"]} for turn in played["turns"]]}
    return [reworded(item) for item in 3 * (300 * [played] + 1038 * [read])]


def test_a_run_of_melds_size_is_a_page_of_less_than_20_mb(page: str, tmp_path: Path, monkeypatch: Any) -> None:
    items = of_meld_size(talks(page))
    assert sum(len(item["turns"]) for item in items) > 30_000  # MELD has 9989 turns, and is read three times
    monkeypatch.setattr("selfemo.report.page.conversations", lambda rounds: items)
    whole = report_page(made.run_of(tmp_path), made.GIVEN, {}, {})
    assert len(whole.encode()) < 20_000_000
    assert len(talks(whole)) == len(items)


def test_what_would_be_too_much_is_left_out_evenly() -> None:
    rng = random.Random(7)
    items = [{"number": n, "text": rng.randbytes(50).hex()} for n in range(4000)]
    few = packed(items, 60_000)
    assert len(few.text) <= 60_000
    assert (few.total, few.shown > 400) == (4000, True)
    numbers = [item["number"] for item in json.loads(gzip.decompress(base64.b64decode(few.text)))]
    apart = {later - earlier for earlier, later in pairwise(numbers)}
    assert len(numbers) == few.shown and max(apart) - min(apart) <= 1


def test_the_page_says_that_conversations_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfemo.report.page.packed", lambda items: packed(items, 1))
    page = report_page(made.run_of(tmp_path), made.GIVEN, {}, {})
    assert "<b>1 of 4 are here</b>" in page


def test_a_page_of_a_small_run_is_less_than_5_mb(page: str) -> None:
    assert len(page.encode()) < 5_000_000
