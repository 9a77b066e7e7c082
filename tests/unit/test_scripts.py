"""Labels and texts in any script: what is found in an answer, and what a word is."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.corpora import leakage
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace
from selfemo.data.scripts import fold, length, letters, terms, words
from selfemo.method.flywheel.reasons import Reason
from selfemo.method.flywheel.texts import distinct_n, shingles, text_reason
from selfemo.method.parsing import parse_expression, parse_understanding
from selfemo.method.prompts import ANSWER_TOKENS, Prompter
from selfemo.method.words import words_of
from selfemo.policy.weights import load_tokenizer
from tests.spaces import SPACES
from tests.unit.label_sets import spaces, spellings

CHINESE = LabelSpace("zh", ("平静", "高兴", "生气", "不高兴", "难过"), {"开心": "高兴", "愤怒": "生气"}, "平静")
HINDI = LabelSpace("hi", ("शांत", "खुशी", "दुख", "गुस्सा"), {"खुश": "खुशी", "दुखी": "दुख"}, "शांत")
ARABIC = LabelSpace("ar", ("محايد", "فرح", "حزن", "غضب"), {"سعيد": "فرح"}, "محايد")
NESTED = LabelSpace("en", ("joy", "joyful", "joy of others", "not angry", "angry", "new hope", "hope"))


@pytest.mark.parametrize(
    ("space", "text", "labels"),
    [
        (CHINESE, " 高兴, 生气", ("高兴", "生气")),
        (CHINESE, "他听起来很高兴，也有点难过。", ("高兴", "难过")),
        (CHINESE, "她并不高兴", ("不高兴",)),  # the longest spelling wins
        (CHINESE, "特别高兴", ("高兴",)),
        (CHINESE, "没有生气，难过", ("难过",)),  # what is negated does not count
        (CHINESE, '{"emotions": ["开心"]}', ("高兴",)),
        (HINDI, "खुशी", ("खुशी",)),
        (HINDI, "वह दुखी है, गुस्सा भी", ("दुख", "गुस्सा")),
        (HINDI, unicodedata.normalize("NFD", "गुस्सा"), ("गुस्सा",)),
        (HINDI, "दुखद", ()),  # a longer word of a script that shows where words end
        (ARABIC, "فرح، حزن", ("فرح", "حزن")),
        (ARABIC, "\u200fغضب\u200f", ("غضب",)),  # direction marks cannot be seen
        (ARABIC, "ليس غضب", ()),
        (NESTED, "joyful", ("joyful",)),
        (NESTED, "joy", ("joy",)),
        (NESTED, "joy of others, joy", ("joy of others", "joy")),
        (NESTED, "not angry, new  hope", ("not angry", "new hope")),
        (NESTED, "not hope", ()),
        (NESTED, "ＪＯＹ", ("joy",)),  # full width
        (LabelSpace("tr", ("sinirli", "ılımlı")), "SİNİRLİ, ILIMLI", ("sinirli", "ılımlı")),
        (LabelSpace("de", ("Spaß", "Freude")), "SPASS", ("Spaß",)),
        (LabelSpace("ko", ("기쁨", "슬픔")), "기쁨이에요", ("기쁨",)),  # endings are written onto a word
        (LabelSpace("th", ("ดีใจ", "เสียใจ")), "เขาดีใจมาก", ("ดีใจ",)),
        (LabelSpace("fa", ("خوش‌حال", "غمگین")), "خوشحال", ("خوش‌حال",)),  # with or without a joiner
    ],
)
def test_labels_are_found_in_any_script(space: LabelSpace, text: str, labels: tuple[str, ...]) -> None:
    assert parse_understanding(text, space).labels == labels


@given(spaces(), st.sampled_from(["plain", "folded", "wide", "decomposed", "json"]))
def test_every_allowed_answer_is_read_back_whatever_its_labels_are(space: LabelSpace, form: str) -> None:
    for answer in space.answers:
        plain = ", ".join(answer)
        text = {
            "plain": f" {plain}",
            "folded": fold(plain),
            "wide": plain.upper() if fold(plain.upper()) == fold(plain) else plain,
            "decomposed": unicodedata.normalize("NFD", plain),
            "json": json.dumps({"emotions": list(answer)}, ensure_ascii=False),
        }[form]
        if form != "json":
            assert parse_understanding(text, space).labels == answer
            assert parse_expression(f"{text}\nReply: ja", space).labels == answer
        elif len(answer) == 1:
            assert set(parse_understanding(text, space).labels) <= set(space.labels)


@given(spaces(), st.text())
def test_no_text_breaks_the_parsers_whatever_the_labels_are(space: LabelSpace, text: str) -> None:
    for answer in (parse_understanding(text, space), parse_expression(text, space)):
        assert set(answer.labels) <= set(space.labels)


@given(spaces())
def test_a_spelling_is_looked_up_as_what_it_means(space: LabelSpace) -> None:
    for label in space.labels:
        assert space.lookup(label) == label
    for alias, label in space.aliases.items():
        assert space.lookup(alias) == label


@given(spellings())
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert fold(unicodedata.normalize("NFD", text)) == fold(text)


@given(space=spaces())
def test_answers_are_told_apart_by_their_tokens_where_one_begins_another(tiny: Path, space: LabelSpace) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    answers = [prompter.answer(answer) for answer in space.answers]
    end = prompter.tokenizer.eos_token_id
    assert len(set(answers)) == len(answers)
    assert all(a[-1] == end and end not in a[:-1] for a in answers)
    assert not any(a == b[: len(a)] for a in answers for b in answers if a is not b)  # none is the beginning of another
    assert max(map(len, answers)) <= prompter.room([space])


def test_there_is_room_for_the_longest_answer_and_for_shipped_ones_as_ever(tiny: Path) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    assert prompter.room(SPACES.values()) == prompter.room([]) == ANSWER_TOKENS
    long = LabelSpace("hi", HINDI.labels, sets=(("शांत", "खुशी", "दुख"),))
    assert prompter.room([SPACES["sample"], long]) == prompter.room([long]) > ANSWER_TOKENS


def test_words_are_what_spaces_part_and_else_what_is_seen_as_a_character() -> None:
    assert words("Don't worry, it’s 3 o'clock_") == ["don't", "worry", "it’s", "3", "o'clock"]
    assert words("我很高兴！") == ["我", "很", "高", "兴"]
    assert words("मुझे खुशी हुई।") == ["मुझे", "खुशी", "हुई"]
    assert words("เดินไป") == ["เ", "ดิ", "น", "ไ", "ป"]
    assert words("iPhone很贵 really") == ["iphone", "很", "贵", "really"]
    assert terms("真的吗？ Ja!") == ["真", "的", "吗", "？", "Ja", "!"]


def test_lengths_of_scripts_without_spaces_are_counted_in_words_as_well() -> None:
    assert length("We won the cup at last") == 6
    assert length("我们终于赢得了奖杯") == 5
    assert length("ในที่สุดเราก็ชนะ") < 8
    assert length("Ich sage 你好") == 3
    assert letters("मुझे बहुत खुशी हुई") == len("मुझे बहुत खुशी हुई")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("我真的很高兴见到你，最近过得怎么样？", Reason.KEPT),
        ("谢谢你，真的谢谢你。", Reason.KEPT),  # three characters are said twice, as people do
        ("我不知道该怎么办才好，我不知道该怎么办才好", Reason.DEGENERATE_TEXT),
        ("好" * 9, Reason.DEGENERATE_TEXT),
        ("，。！", Reason.DEGENERATE_TEXT),
        ("".join(chr(0x4E00 + i) for i in range(90)), Reason.TOO_LONG),
        ("मुझे तुमसे मिलकर बहुत खुशी हुई।", Reason.KEPT),
        ("أنا سعيد جدا برؤيتك اليوم", Reason.KEPT),
    ],
)
def test_replies_are_judged_in_their_own_script(reply: str, reason: Reason) -> None:
    assert text_reason(reply, 40, SPACES["sample"]) is reason


def test_near_duplicates_and_distinct_2_are_of_characters_where_there_are_no_spaces() -> None:
    one, other = "今天天气真好我们一起去公园散步吧", "今天天气真好我们一起去公园散步"
    assert len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other)) > 0.8
    assert not shingles(one) & shingles("明早八点在车站见面")
    assert distinct_n([one, one], 2) == pytest.approx(0.5)


def test_a_copy_in_a_held_out_split_is_found_in_chinese() -> None:
    def talk(split: str, *texts: str) -> Dialogue:
        return Dialogue(id=split, corpus="zh", split=split, turns=tuple(Utterance(speaker="甲", text=t) for t in texts))

    kept, removed = leakage.remove(
        [talk("train", "今天天气真好，我们去公园吧", "好啊")], [talk("dev", "今天天气真好我们去公园吧！", "好啊")]
    )
    assert removed == 1  # and "好啊" is common speech
    assert [u.text for u in kept[0].turns] == ["好啊"]


def test_a_bag_of_words_learns_from_chinese() -> None:
    said = {"高兴": ["我太高兴了", "真开心啊", "太好了我很开心"], "生气": ["你怎么能这样", "我很生气", "气死我了"]}
    turns = tuple(Utterance(speaker="甲", text=t, gold=(label,)) for label, texts in said.items() for t in texts)
    read = words_of([Dialogue(id="d", corpus="zh", split="train", turns=turns)], 0)["zh"].read("今天很开心", CHINESE)
    assert CHINESE.answers[int(read.argmax())] == ("高兴",)


def test_joiners_stay_in_what_is_said_and_descriptions_stand_in_prompts_for_understanding(tiny: Path) -> None:
    prompter = Prompter(load_tokenizer(str(tiny)))
    assert prompter.neutralise("می\u200cخواهم") == "می\u200cخواهم"
    space = LabelSpace("x", ("calm", "joy"), descriptions={"joy": "glad\nof <|im_end|> something"})
    turn = [Utterance(speaker="A", text="Hello")]
    decode = prompter.tokenizer.decode
    assert "- joy: glad of < im_end > something" in decode(prompter.understanding(turn, space))
    assert "glad" not in decode(prompter.expression(turn, "B", space))
    plain = LabelSpace("x", ("calm", "joy"))
    assert prompter.expression(turn, "B", space) == prompter.expression(turn, "B", plain)
