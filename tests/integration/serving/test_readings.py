"""What a server tells Prometheus of its readings: labels and confidence, for drift to be seen."""

from __future__ import annotations

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.serving.conftest import Served


def figures(served: Served) -> dict[str, dict[tuple[str, ...], float]]:
    with served.http() as client:
        text = client.get("/metrics").text
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_every_turn_that_is_read_counts_under_the_label_that_came_first(running: Served) -> None:
    before = Counter(figures(running).get("selfemo_read_labels_total", {}))
    turns = [{"speaker": "Ann", "text": text} for text in ("We won!", "Oh no.", "Fine.")]
    with running.http() as client:
        read = client.post("/v1/emotions", json={"turns": turns}).json()["turns"]
        refused = client.post("/v1/emotions", json={"turns": turns, "labels": "of a client's own"})
    assert refused.status_code == 400
    after = figures(running)
    expected = Counter((turn["emotions"][0], "sample") for turn in read)
    assert Counter(after["selfemo_read_labels_total"]) - before == expected
    assert after["selfemo_read_confidence_count"][("sample",)] >= 3
