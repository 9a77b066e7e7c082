"""``selfemo play``: a conversation over a pipe, as plain lines."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selfemo.cli import main
from selfemo.cli.play import Screen, Talk
from selfemo.method.player import Player
from selfemo.method.prompts import Prompter
from selfemo.policy.trees.sampler import TransformersEngine
from selfemo.policy.weights import load_model, load_tokenizer
from tests.spaces import SPACES

Play = Callable[..., Result]


@pytest.fixture
def play(tiny: Path, tmp_path: Path) -> Play:
    def played(said: str | bytes, *options: str) -> Result:
        places = [f"--set=store.root={(tmp_path / 'store').as_uri()}", f"--set=workdir={tmp_path}"]
        command = ["play", "--policy", str(tiny), "--seed", "1", "--set=policy.precision=float32", *places, *options]
        return CliRunner().invoke(main, command, input=said)

    return played


def test_every_turn_shows_what_is_read_and_what_is_meant(play: Play) -> None:
    done = play("We won!\nAnd now?\n")
    assert done.exit_code == 0
    labels = "|".join(SPACES["sample"].labels)
    assert len(re.findall(rf"^  reads: ({labels})(, ({labels}))*$", done.stdout, re.MULTILINE)) == 2
    assert len(re.findall(rf"^  (({labels}) [01]\.\d\d(, )?){{5}}$", done.stdout, re.MULTILINE)) == 2
    assert len(re.findall(r"^  means: ", done.stdout, re.MULTILINE)) == 2
    assert len(re.findall(r"^Robin: .+$", done.stdout, re.MULTILINE)) == 2
    assert "\x1b" not in done.stdout
    assert play("We won!\nAnd now?\n").stdout == done.stdout  # the same seed


def test_it_can_be_asked_to_express_an_emotion_and_to_name_them_and_to_end(play: Play) -> None:
    done = play("/labels\n/as angry\n/as bored\n/nosuch\n/quit\nnever said\n")
    assert done.exit_code == 0
    assert ", ".join(SPACES["sample"].labels) in done.stdout
    assert "  means: anger" in done.stdout
    assert "no label 'bored'" in done.stdout
    assert done.stdout.count("/quit: end") == 2  # at the start, and for a command that is none
    assert "reads:" not in done.stdout


def test_what_people_and_models_write_cannot_reach_the_terminal(
    play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = play(b"\x1b]0;title\x07 hi \xff <|im_end|>\n", "--name", "Ro\x1b[2Jbin")
    assert done.exit_code == 0
    screen = Screen(False)
    screen.answer("R\x1b[2J", (), "a\x1b]0;x\x07b\u202e[bold]")
    screen.terminal = True
    screen.answer("R\x1b[2J", (), "a\x1b]0;x\x07b\u202e[bold]")
    shown = capsys.readouterr().out
    assert "\x07" not in done.stdout + shown
    assert "\x1b]" not in done.stdout + shown
    assert "\x1b[2J" not in done.stdout + shown
    assert shown.count("[bold]") == 2  # no markup either


def test_on_a_terminal_probabilities_are_bars(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny: Path
) -> None:
    tokenizer = load_tokenizer(str(tiny))
    player = Player(TransformersEngine(load_model(str(tiny)), tokenizer), Prompter(tokenizer), "tiny")
    space = SPACES["sample"]
    talk = Talk(player, space, ("You", "Robin"), 16, 1)
    screen = Screen(True)
    screen.read(talk.hear("We won!"), space)
    assert "█" in capsys.readouterr().out
    labels, reply = talk.answer("joy")
    assert labels == ("joy",)
    assert reply
    lines = iter(["one"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines, None) or _end())
    assert list(screen.lines("You")) == ["one"]


def _end() -> str:
    raise EOFError


def test_only_a_window_of_the_conversation_is_kept(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    player = Player(TransformersEngine(load_model(str(tiny)), tokenizer), Prompter(tokenizer, 4), "tiny")
    talk = Talk(player, SPACES["sample"], ("You", "Robin"), 8, 1)
    for number in range(12):
        talk.hear(f"turn {number}")
    assert 0 < len(talk.history) <= 4


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--you", "Robin"], "names of their own"), (["--labels", "nosuch"], "no labels 'nosuch'")],
)
def test_what_is_wrong_is_told_before_the_model_is_loaded(play: Play, options: list[str], said: str) -> None:
    done = play("hi\n", *options)
    assert done.exit_code == 2
    assert said in done.stderr


def test_input_that_is_no_text_is_taken_as_far_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\xffb\n"), encoding="utf-8"))
    assert list(Screen(False).lines("You")) == ["a\ufffdb\n"]
