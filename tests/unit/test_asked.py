"""Which turns a person is asked about, and why."""

from __future__ import annotations

from datetime import UTC, datetime

from selfemo.data.corrections import Correction, Reading, collected_id
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace
from selfemo.data.records import Sample
from selfemo.review.asked import asked

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
SPACE = LabelSpace("talk", ("calm", "joy", "anger"), aliases={"happy": "joy"})
SPACES = {"talk": SPACE}


def conversation(key: str, *said: str, gold: int | None = None) -> Dialogue:
    turns = tuple(
        Utterance(speaker="AB"[n % 2], text=text, gold=("joy",) if n == gold else None) for n, text in enumerate(said)
    )
    return Dialogue(id=collected_id("talk", key), corpus="talk", split="train", turns=turns)


def reading(key: str, turn: int, **chances: float) -> Reading:
    best = max(chances, key=lambda label: chances[label])
    return Reading(dialogue=collected_id("talk", key), turn=turn, labels=(best,), chances=chances, when=NOW)


def sample(dialogue: str, turn: int, consensus: tuple[float, ...], other: tuple[float, ...], kind: str = "") -> Sample:
    return Sample(
        id=f"r2/understanding/{dialogue}/{turn}#understanding" if not kind else f"{kind}/{turn}#understanding",
        round=2,
        policy="p",
        corpus="talk",
        dialogue=dialogue,
        task="understanding",
        history=(),
        role="A",
        target=("joy",),
        gold=False,
        confidence=0.5,
        consensus=consensus,
        posterior=other,
        parents=(),
    )


def test_what_is_unsure_disagreed_on_or_new_is_asked_about_and_nothing_else() -> None:
    rows = [
        conversation("sure", "That is fine."),
        conversation("unsure", "Well.", "Well, well.", "Oh."),
        conversation("apart", "I see."),
        conversation("new", "The quux frobs every wibble."),
        conversation("known", "That is fine by me."),
    ]
    read = [reading("sure", 0, calm=0.9, joy=0.1), reading("unsure", 0, calm=0.5, joy=0.4, anger=0.1)]
    read += [reading("unsure", 1, calm=0.34, joy=0.33, anger=0.33), reading("unsure", 1, calm=1.0)]
    kept = [sample(rows[2].id, 0, (0.9, 0.1, 0), (0.1, 0.9, 0)), sample(rows[0].id, 0, (0.9, 0.1, 0), (0.9, 0.1, 0))]
    kept.append(sample(rows[4].id, 0, (1, 0, 0), (0, 1, 0), kind="r2/episode/7"))  # of a played turn
    seen = [conversation("corpus", "That is fine. By me, every day.", "Well, I see. Oh.")]
    found = asked(rows, read, [], SPACES, samples=kept, seen=seen)
    assert [(turn.dialogue.split("/")[-1], turn.turn) for turn in found] == [
        ("unsure", 1),  # the first of each reason, then the others
        ("apart", 0),
        ("new", 0),
        ("unsure", 0),
    ]
    assert found[0].why == ("unsure: calm 34%",)
    assert found[0].history == rows[1].turns[:1]
    assert found[1].why == ("the voices disagree: 80% apart",)
    assert found[2].why == ("unlike what was seen: 80% of its words are new",)  # "every" was
    assert len(asked(rows, read, [], SPACES, samples=kept, seen=seen, limit=2)) == 2


def test_what_is_labelled_or_of_other_labels_is_not_asked_about() -> None:
    unsure = {"calm": 0.5, "joy": 0.5}
    rows = [conversation("a", "Well.", "Well!", gold=1), conversation("b", "Well.")]
    read = [reading("a", 0, **unsure), reading("a", 1, **unsure), reading("b", 0, **unsure)]
    done = Correction(dialogue=rows[1].id, turn=0, labels=("joy",), who="ada", when=NOW, source="review")
    assert [turn.key for turn in asked(rows, read, [done], SPACES)] == [(rows[0].id, 0)]
    assert asked(rows, read, [], {"other": SPACE}) == []
