"""What corpora, servers and users write, as it is shown: no escapes that a terminal obeys, no credentials."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfemo import logs
from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.errors import UserError
from selfemo.registry.credentials import moved
from selfemo.shown import has_credentials, printable, redacted, shown


@given(st.text())
def test_no_character_that_a_terminal_obeys_is_shown(text: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in shown(text) + str(UserError(text, where=text, fix=text)))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("at http://bob:PW@host:5000/a?b=c", "at http://***@host:5000/a?b=c"),
        ("https://TOKEN@git.example.org", "https://***@git.example.org"),
        ("https://bob:p@PW@host/x", "https://***@host/x"),
        ("postgresql+psycopg2://bob:PW@db/x", "postgresql+psycopg2://***@db/x"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("ssh://git:PW@host/x", "ssh://***@host/x"),
        ("\u0774http://bob@host", "\u0774http://***@host"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("http://host/?to=a@b", "http://host/?to=a@b"),
        ("models:/self-emo@champion", "models:/self-emo@champion"),
    ],
)
def test_addresses_lose_their_credentials(text: str, clean: str) -> None:
    assert redacted(text) == clean
    assert has_credentials(text) == (text != clean)


def test_a_log_holds_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    before = logs.log.handlers[:], logs.log.propagate
    logs.configure()
    try:
        try:
            raise ValueError("http://bob:PW@host \x1b]0;title\x07")
        except ValueError:
            logging.getLogger("selfemo.x").exception("from %s", "http://bob:PW@host\x1b[2J")
    finally:
        logs.log.handlers[:], logs.log.propagate = before
    assert "ValueError" in written.getvalue()
    assert "PW" not in written.getvalue()
    assert "\x1b" not in written.getvalue()


def test_an_error_in_a_corpus_moves_no_cursor(tmp_path: Path) -> None:
    row = '{"utterance_id": "u\\u001b]0;pwn\\u0007", "emotion": "Bad\\u001b[2J", "transcript": "x", "speakers": ["A"]}'
    for short in ("trn", "dev", "tst"):
        (tmp_path / f"emotion-detection-{short}.json").write_text(
            f'{{"episodes": [{{"scenes": [{{"scene_id": "s", "utterances": [{row}]}}]}}]}}'
        )
    with pytest.raises(UserError) as raised:
        load_corpus("emorynlp-json", str(tmp_path), BadRows())
    assert "pwn" in str(raised.value)
    assert not any(c in str(raised.value) for c in "\x1b\x07")


def test_credentials_of_an_mlflow_move_to_where_its_client_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "before")
    assert moved("https://bob:p%40w@mlflow.example.org/x") == "https://mlflow.example.org/x"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("bob", "p@w")
    assert moved("https://T@mlflow.example.org") == "https://mlflow.example.org"
    assert os.environ["MLFLOW_TRACKING_TOKEN"] == "T"
    for plain in ("http://mlflow:5000", "sqlite:///m.db", "postgresql://bob:pw@db/x"):
        assert moved(plain) == plain
    with pytest.raises(UserError, match="not an address"):
        moved("http://[x")


def test_long_text_takes_time_in_proportion() -> None:
    """Every start of a word could be that of an address: what is looked at again has a bound."""
    for part in ("a.b+c-", "a", "://", "a://", "@"):
        assert redacted(part * 200_000) == part * 200_000


def test_letters_that_join_others_are_kept() -> None:
    """Persian and Hindi words, and emoji, are others without them."""
    assert printable("می‌خواهم") == "می‌خواهم"
