"""Chat templates as models bring them: without a system's turn, strict about turns, with texts as parts, or useless."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from selfemo import config as configuration
from selfemo.data.dialogue import Utterance
from selfemo.errors import UserError
from selfemo.method.chat import folded, merged, rendered
from selfemo.method.prompts import Prompter
from selfemo.policies import Policies
from selfemo.policy.weights import load_tokenizer
from selfemo.store.artifacts import Store
from tests.spaces import MELD

TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}\n{% endfor %}<assistant>"
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<{{ 'model' if m['role'] == 'assistant' else m['role'] }}>{{ m['content'] | trim }}\n{% endfor %}<model>"
)
SILENT = "{% for m in messages if m['role'] != 'system' %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>"
PARTS = (
    "{% for m in messages %}<{{ m['role'] }}>"
    "{% for part in m['content'] if part is mapping %}{{ part['text'] }}{% endfor %}\n{% endfor %}<assistant>"
)
ALTERNATE = (
    "{% for m in messages %}{% if not loop.first and m['role'] == loop.previtem['role'] %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>"
)
USELESS = {
    "{{ raise_exception('this model does not chat\nat all') }}": "cannot be used: this model does not chat",
    "always the same": "leaves out some of what is said",
    "{% for m in messages": "cannot be used: ",
    "{{ messages[0].__class__.__mro__[1].__subclasses__() }}": "cannot be used: access to attribute '__class__'",
    "{{ 1 // 0 }}": "cannot be used: .*zero",
    "{% for m in messages %}{{ m['content'] }} {{ m['content'] }}{% endfor %}": "repeats what a user says",
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'][:9] }}{% endfor %}": "leaves out some of what is said",
}
SYSTEM = {"role": "system", "content": "Be brief."}


def _chat(*said: str) -> list[dict[str, Any]]:
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(said)]


@pytest.fixture
def tokenizer(tiny: Path) -> Any:
    return copy.deepcopy(load_tokenizer(str(tiny)))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (TURNS, "<system>Be brief.\n<user>Hi\n<assistant>Yes?\n<user>Bye\n<assistant>"),
        (GEMMA, "<user>Be brief.\n\nHi\n<model>Yes?\n<user>Bye\n<model>"),
        (SILENT, "<user>Be brief.\n\nHi\n<assistant>Yes?\n<user>Bye\n<assistant>"),
        (PARTS, "<system>Be brief.<user>Hi<assistant>Yes?<user>Bye<assistant>"),
    ],
)
def test_a_systems_text_stands_where_the_template_has_room_for_it(tokenizer: Any, template: str, expected: str) -> None:
    tokenizer.chat_template = template
    assert rendered(tokenizer, [SYSTEM, *_chat("Hi", "Yes?", "Bye")]) == expected


def test_turns_of_one_role_are_merged_where_they_must_alternate_and_only_there(tokenizer: Any) -> None:
    twice = [*_chat("Hi"), *_chat("Are you there?")]
    tokenizer.chat_template = ALTERNATE
    assert rendered(tokenizer, twice) == "<user>Hi\n\nAre you there?\n<assistant>"
    tokenizer.chat_template = TURNS
    assert rendered(tokenizer, twice) == "<user>Hi\n<user>Are you there?\n<assistant>"


@pytest.mark.parametrize("template", USELESS)
def test_a_template_that_cannot_be_used_is_refused_at_load_in_its_own_words(
    template: str, tiny: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(tiny, tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").write_text(template)
    config = configuration.load(None, [])
    policies = Policies(config, Store(tmp_path.as_uri(), tmp_path), dict[str, str]().__getitem__, tmp_path)
    with pytest.raises(UserError, match=USELESS[template]) as refusal:
        policies.find(str(tmp_path / "m")).player()
    assert str(tmp_path / "m") in str(refusal.value)


def test_a_chat_that_begins_with_the_assistant_is_refused_by_a_template_that_wants_a_user(tokenizer: Any) -> None:
    tokenizer.chat_template = GEMMA
    with pytest.raises(UserError, match="Conversation roles must alternate"):
        rendered(tokenizer, [{"role": "assistant", "content": "Hi"}])


messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=5)}),
    max_size=8,
)


@given(messages)
def test_merging_and_folding_lose_no_word_and_leave_turns_that_alternate(given: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(given)
    for form in (merged(given), folded(given)):
        assert "\n\n".join(m["content"] for m in form) == "\n\n".join(m["content"] for m in given)
        assert all(one["role"] != other["role"] for one, other in pairwise(form))
    assert all(m["role"] != "system" for m in folded(given))
    assert given == before


@pytest.mark.parametrize("template", [GEMMA, SILENT, PARTS, ALTERNATE])
def test_prompts_hold_the_dialogue_and_the_labels_whatever_the_template(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    prompter = Prompter(tokenizer).check()
    text = tokenizer.decode(prompter.understanding([Utterance(speaker="Ann", text="We won!")], MELD))
    assert "Emotions: neutral," in text
    assert text.index("Emotions: neutral,") < text.index("Ann: We won!\nWhich emotions does Ann express")
    assert text.endswith("Emotion:")


@pytest.fixture(scope="module")
def sentencepiece() -> Prompter:
    """A tokenizer of Llama 2's and Mistral's kind: every text that it is given begins with a space of its own."""
    letters = [chr(c) for c in range(33, 127)] + ["\n", "▁"]
    words = ["jo", "joy", "▁joy", "An", "Ann", "▁Ann", "Re", "▁Re"]
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *letters, *words])}
    merges = [("j", "o"), ("jo", "y"), ("▁", "joy"), ("A", "n"), ("An", "n"), ("▁", "Ann"), ("R", "e"), ("▁", "Re")]
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    return Prompter(
        PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", chat_template=TURNS)
    )


texts = st.text("AnnjoyRe: ,b", min_size=1, max_size=12)


@given(text=texts, before=texts)
def test_parts_of_a_prompt_have_the_tokens_of_the_whole(sentencepiece: Prompter, text: str, before: str) -> None:
    whole = sentencepiece.tokenizer(f"{before}\n{text}", add_special_tokens=False)["input_ids"]
    assert tuple(whole[len(whole) - len(sentencepiece._encode(text)) :]) == sentencepiece._encode(text)
    assert "".join(sentencepiece.tokenizer.convert_ids_to_tokens(sentencepiece._encode(text))).replace("▁", " ") == text


def test_an_answers_tokens_are_those_after_the_prompt(sentencepiece: Prompter) -> None:
    joy = sentencepiece.answer(["joy"])
    assert sentencepiece.tokenizer.convert_ids_to_tokens(joy) == ["▁joy", "</s>"]
    declared, reply = sentencepiece.declared(["joy"], "Ann!")
    assert (*declared, *reply) == sentencepiece.answer(["joy"], "Ann!")
    assert sentencepiece.tokenizer.convert_ids_to_tokens(reply) == ["▁Ann", "!", "</s>"]
