"""What a real Label Studio, 1.23.2, exported of five tasks of ours comes back as it was meant there.

Recorded in ``label_studio/``: the first two tasks were labelled, the second one with others beside the primary label;
the third was skipped; the fourth was labelled twice, and the first of these changed last; the fifth was left alone.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from selfemo.data.corrections import collected_id
from selfemo.data.dialogue import Utterance
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.review import label_studio, table
from selfemo.review.asked import Asked

RECORDED = Path(__file__).parent / "label_studio"
SPACE = LabelSpace("talk", ("calm", "joy", "anger"))
TALK = collected_id("talk", "a")
NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize("form", ["json", "json-min"])
def test_what_was_chosen_last_comes_back_with_the_primary_label_first(form: str) -> None:
    file = RECORDED / f"1.23.2-{form}.json"
    rows = label_studio.read(file, {"talk": SPACE}, {TALK: 5}, "ada", NOW)
    assert [(row.dialogue, row.turn, row.labels) for row in rows] == [
        (TALK, 0, ("joy",)),
        (TALK, 1, ("joy", "calm", "anger")),
        (TALK, 3, ("anger", "joy")),
    ]


def test_tasks_of_two_projects_in_one_file_are_told_apart_by_their_turns(tmp_path: Path) -> None:
    rows = [{"id": 1, "dialogue": TALK, "turn": turn, "labels": "joy", "updated_at": "2026"} for turn in (0, 1)]
    file = tmp_path / "both.json"
    file.write_text(json.dumps(rows))
    assert len(label_studio.read(file, {"talk": SPACE}, {TALK: 5}, "ada", NOW)) == 2


def test_its_csv_in_which_labels_would_get_lost_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    head = "also,annotation_id,annotator,created_at,dialogue,history,id,labels,lead_time,text,turn,updated_at,why"
    file.write_text(f'{head}\n"{{""choices"":[""calm"",""anger""]}}",11,1,,{TALK},[],71,joy,2.5,B: Oh.,1,,\n')
    with pytest.raises(UserError, match="is Label Studio's CSV") as raised:
        table.read(file, {"talk": SPACE}, {TALK: 5}, "ada", NOW)
    assert "as JSON or JSON-MIN" in str(raised.value.fix)


def test_a_first_turn_has_something_before_it_or_the_page_of_label_studio_stays_blank() -> None:
    turn = Asked(TALK, 0, SPACE, (), Utterance(speaker="A", text="We won!"), {}, ("unsure",))
    (task,) = json.loads(label_studio.tasks([turn]))
    assert [sorted(said) for said in task["data"]["history"]] == [["author", "text"]]
