"""What the built-in finders mask, what they leave, and what they are known to miss."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo.data.redaction import Command, Patterns
from selfemo.data.redaction_model import Model
from selfemo.errors import UserError

FAKE_KEY = "AKIA" + "IOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("call +49 30 1234567 now", "call [NUMBER] now"),
        ("call (212) 555-0199.", "call [NUMBER]."),
        ("card 4111 1111 1111 1111, thanks", "card [NUMBER], thanks"),
        ("pay to DE89 3704 0044 0532 0130 00!", "pay to [NUMBER]!"),
        ("my SSN is 078-05-1120", "my SSN is [NUMBER]"),
        ("order 2026110712", "order [NUMBER]"),
        ("mail a_b+c@mail.co.uk, or jürgen@müller.example.", "mail [EMAIL], or [EMAIL]."),
        ("from 192.168.0.1 or fe80::1", "from [ADDRESS] or [ADDRESS]"),
        ("at 12 Baker Street, London NW1 6XE today", "at [ADDRESS] today"),
        ("to 1600 Amphitheatre Parkway, Mountain View, CA 94043", "to [ADDRESS]"),
        (f"use {FAKE_KEY}, quick", "use [KEY], quick"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[KEY]"),
        ("password: hunter2 and go", "password: [KEY] and go"),
        ("das Passwort ist geheim99", "das Passwort ist [KEY]"),
        ("卡号是4111111111111111吗", "卡号是[NUMBER]吗"),
        ("口座番号1234567です", "口座番号[NUMBER]です"),
        ("地址是192.168.0.1请看", "地址是[ADDRESS]请看"),
    ],
)
def test_what_tells_who_somebody_is_becomes_its_kind(text: str, masked: str) -> None:
    assert Patterns()([text]).texts == [masked]


@pytest.mark.parametrize(
    "text",
    [
        "I am 34, and it is 10:30 on 12/03/2024.",
        "Room 101, 5 of 10, 3.14 and 1,000,000 people",
        "The password is wrong, and the secret is love.",
        "supercalifragilisticexpialidocious internationalization",
        "well... @ home :: yes",
        "",
    ],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert Patterns()([text]).texts == [text]


def test_names_are_masked_where_they_are_known_and_missed_where_not() -> None:
    done = Patterns()(["Anna met Dr. Schmidt and Joanna", "Anna?"], [["Anna Schmidt"], []])
    assert done.texts == ["[NAME] met Dr. [NAME] and Joanna", "Anna?"]
    assert done.counts == {"NAME": 2}


@pytest.mark.parametrize(
    ("name", "text", "masked"),
    [
        ("王伟", "王伟你好", "[NAME]你好"),
        ("田中", "田中さん", "[NAME]さん"),
        ("สมชาย", "คุณสมชายครับ", "คุณ[NAME]ครับ"),
        ("Anna", "Annabel and Anna", "Annabel and [NAME]"),
        ("Al", "Hal, Al and AlAl", "Hal, [NAME] and AlAl"),
    ],
)
def test_names_are_found_where_a_script_has_no_spaces(name: str, text: str, masked: str) -> None:
    assert Patterns()([text], [[name]]).texts == [masked]


def test_telephone_numbers_of_a_country_want_its_name() -> None:
    assert Patterns(("FR",)).ready()(["01 23 45 67 89"]).texts == ["[NUMBER]"]
    with pytest.raises(UserError, match="no country 'XX'"):
        Patterns(("XX",)).ready()


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_text_comes_back_and_masking_twice_is_masking_once(texts: list[str]) -> None:
    once = Patterns()(texts)
    assert len(once.texts) == len(texts)
    assert Patterns()(once.texts).texts == once.texts


def test_a_command_gets_every_text_whole() -> None:
    texts = ["two\nlines", "\u2028", '"quoted"', "", "ü"]
    assert Command("cat")(texts).texts == texts


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of no layers, whose embeddings say that Maria is a person and Lyon a place."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    words = ["[UNK]", "[PAD]", "Maria", "Lyon", "EMAIL", "NAME"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    labels = ["O", "B-PER", "B-LOC"]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=4,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=4,
        max_position_embeddings=16,
        id2label=dict(enumerate(labels)),
    )
    model = BertForTokenClassification(config)
    with torch.no_grad():
        for weights in model.bert.embeddings.parameters():
            weights.zero_()
        model.bert.embeddings.LayerNorm.weight.fill_(1.0)
        table = model.bert.embeddings.word_embeddings.weight
        table[:, 0] = 1.0
        table[2:4] = torch.eye(4)[1:3]
        table[4:] = torch.eye(4)[1]  # it would take the words of masks for people
        model.classifier.weight.copy_(torch.eye(4)[:3])
        model.classifier.bias.zero_()
    path = tmp_path_factory.mktemp("ner")
    model.save_pretrained(path)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(path)
    return path


def test_a_model_of_ones_own_finds_names_that_nobody_gave(classifier: Path) -> None:
    model = Model.load(classifier, Patterns())
    long = "so it was said " * 30 + "by Maria"  # many times what the model reads at once
    done = model(["Maria went to Lyon, jo@example.com", "", "no one", long], [[], [], [], []])
    assert done.texts == ["[NAME] went to [ADDRESS], [EMAIL]", "", "no one", long.replace("Maria", "[NAME]")]
    assert done.counts == {"NAME": 2, "ADDRESS": 1, "EMAIL": 1}


def test_what_is_no_such_model_is_named(tmp_path: Path, classifier: Path) -> None:
    with pytest.raises(UserError, match="holds no model"):
        Model.load(tmp_path, Patterns())
    for file in classifier.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"cannot be loaded|header"):
        Model.load(tmp_path, Patterns())
    config = (classifier / "config.json").read_text().replace("B-PER", "joy").replace("B-LOC", "fear")
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes((classifier / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="its labels are O, fear, joy"):
        Model.load(tmp_path, Patterns())


def test_an_address_is_found_wherever_it_stands_in_a_long_text() -> None:
    address = "12 Baker Street, London NW1 6XE"
    for before in (0, 100, 980, 990, 1500):
        text = f"{'word ' * (before // 5)}{address} today"
        assert Patterns()([text]).texts == [text.replace(address, "[ADDRESS]")]
