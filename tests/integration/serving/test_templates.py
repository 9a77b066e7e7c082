"""Models whose templates know no system role, or want turns to alternate, are asked all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.policy.weights import load_tokenizer
from selfemo.serving.schema import ChatRequest
from selfemo.serving.service import Service

STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)


@pytest.fixture
def strict(service: Service, player: Player, tiny: Path) -> Service:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = STRICT
    return Service(replace(player, prompter=Prompter(tokenizer)), "self-emo", "sample", service.spaces, {})


def prompt_of(service: Service, *messages: tuple[str, str]) -> str:
    rows = [{"role": role, "content": content} for role, content in messages]
    ask = service.chat(ChatRequest.model_validate({"messages": rows}), "")
    return str(service.player.prompter.tokenizer.decode(ask.prompt))


def test_what_a_system_says_goes_before_the_first_users(strict: Service) -> None:
    text = prompt_of(strict, ("system", "Be brief."), ("user", "hi"), ("user", "there"), ("assistant", "yes"))
    assert text == "<|im_start|>user\nBe brief.\n\nhi\n\nthere<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"


def test_what_it_does_not_take_in_any_form_is_refused_with_its_own_words(strict: Service) -> None:
    with pytest.raises(ValueError, match="must alternate"):
        prompt_of(strict, ("assistant", "I begin"), ("user", "no"))
