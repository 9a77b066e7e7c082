"""What is fuzzed: every reader of what others write. Each takes any bytes, and may raise a ``UserError`` alone.

Beyond that a target says what has to hold of what it has read: it can be written and read again, and is the same.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pydantic

from selfemo import config as configuration
from selfemo.config import Config
from selfemo.data.corpora.load import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.data.dialogue import Dialogue, read_jsonl, write_jsonl
from selfemo.data.records import Prediction, Rollout, Sample, read_records, write_records
from selfemo.errors import UserError
from selfemo.method.parsing import Answer, parse_expression, parse_understanding
from selfemo.policy import adapters
from selfemo.registry.reference import knows_canaries, replicas_of
from selfemo.review import label_studio, table
from selfemo.services import record
from selfemo.shown import has_credentials, redacted, shown
from selfemo.store import lock, marks
from selfemo.store.manifest import Manifest
from tests.spaces import SPACES

Target = Callable[[bytes], None]

_MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
PLACE = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_MEMORY))
"""Where files are written that are read by name; in memory, where there is one."""
atexit.register(shutil.rmtree, PLACE, ignore_errors=True)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _corpus(name: str, files: Callable[[bytes], dict[str, bytes]]) -> Target:
    """A corpus whose files are made of the bytes; what is good of them is written and read again."""

    def target(data: bytes) -> None:
        folder = PLACE / name
        for file, contents in files(data).items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(contents)
        with suppress(UserError):
            load_corpus(name, str(folder), BadRows())
        rows = BadRows(skip_bad=True)
        with suppress(UserError):
            found = load_corpus(name, str(folder), rows)
            json.dumps(rows.quarantine).encode()
            assert_same(found)

    return target


def assert_same(dialogues: list[Dialogue]) -> None:
    """What was read is one line a turn, and comes back as it was."""
    assert len({d.id for d in dialogues}) == len(dialogues)
    assert all("\n" not in t.text and "\r" not in t.text and t.speaker.strip() for d in dialogues for t in d.turns)
    write_jsonl(PLACE / "again.jsonl", dialogues)
    assert list(read_jsonl(PLACE / "again.jsonl")) == dialogues


def _splits(pattern: str, *names: str) -> Callable[[bytes], dict[str, bytes]]:
    return lambda data: {pattern.format(name): data for name in names}


def _dailydialog(data: bytes) -> dict[str, bytes]:
    said, _, felt = data.partition(b"\x00")
    made = {}
    for folder in ("train", "validation", "test"):
        made[f"{folder}/dialogues_{folder}.txt"] = said
        made[f"{folder}/dialogues_emotion_{folder}.txt"] = felt
    return made


def _iemocap(data: bytes) -> dict[str, bytes]:
    said, _, felt = data.partition(b"\x00")
    made = {}
    for session in ("Session1", "Session5"):
        made[f"{session}/dialog/transcriptions/Ses01F_impro01.txt"] = said
        made[f"{session}/dialog/EmoEvaluation/Ses01F_impro01.txt"] = felt
    return made


def dialogues(data: bytes) -> None:
    file = PLACE / "d.jsonl"
    file.write_bytes(data)
    with suppress(UserError):
        found = list(read_jsonl(file))
        write_jsonl(file, found)
        assert list(read_jsonl(file)) == found


def records(data: bytes) -> None:
    import gzip

    file = PLACE / "r.jsonl.gz"
    for contents in (data, gzip.compress(data, 1)):
        for kind in (Rollout, Sample, Prediction):
            file.write_bytes(contents)
            with suppress(UserError):
                found = list(read_records(file, kind))
                write_records(file, found)
                assert repr(list(read_records(file, kind))) == repr(found)  # as text: nan is not nan


def configuration_file(data: bytes) -> None:
    file = PLACE / "c.yaml"
    file.write_bytes(data)
    with suppress(UserError):
        _checked(configuration.load(file))


def override(data: bytes) -> None:
    text = _text(data)
    for given in (text, f"seed={text}", f"corpora={text}", f"cluster.pods={text}", f"gitops.push={text}"):
        with suppress(UserError):
            _checked(configuration.load(None, [given]))


def configuration_json(data: bytes) -> None:
    with suppress(UserError):
        _checked(Config.from_json(_text(data)))


def _checked(config: Config) -> None:
    """It travels, and holds nothing secret."""
    text = config.to_json()
    assert Config.from_json(text).to_json() == text
    assert not has_credentials(json.dumps(config.model_dump(mode="json")["mlflow"]))


def manifest(data: bytes) -> None:
    with suppress(UserError):
        found = Manifest.from_json(data, "here")
        for name in (*found.files, found.files_at):
            inside = os.path.normpath(os.path.join("/artifact", name))
            assert inside.startswith("/artifact/")
            os.fsencode(name)
        assert Manifest.from_json(found.to_json(), "here").digest == found.digest


def small_records(data: bytes) -> None:
    """What is kept in small files and tags: damaged, each is as good as none."""
    lock._parse(data)
    file = PLACE / "mark"
    file.write_bytes(data)
    marks.read(file)
    marks.holds(file, "d", PLACE, ["a"])
    services = PLACE / "w" / "services"
    services.mkdir(parents=True, exist_ok=True)
    (services / "state.json").write_bytes(data)
    record.died(PLACE / "w")
    assert int(replicas_of(_text(data))) > 0
    knows_canaries(_text(data))


def adapter(data: bytes) -> None:
    folder = PLACE / "adapter"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_bytes(data)
    with suppress(UserError):
        assert isinstance(adapters.settings(folder), dict)


def replies(data: bytes) -> None:
    """What models answer."""
    text = _text(data)
    for read in (parse_understanding, parse_expression):
        found = read(text, SPACES["sample"])
        assert isinstance(found, Answer)
        assert set(found.labels) <= set(SPACES["sample"].labels)
        assert "\n" not in (found.reply or "")


def requests(data: bytes) -> None:
    """What clients ask of the server, and of the sidecar, which reads of a chat what was said."""
    from selfemo.serving import schema
    from selfemo.serving.sidecar.chats import _Asked

    for kind in (schema.ChatRequest, schema.EmotionsRequest, _Asked):
        with suppress(pydantic.ValidationError):
            kind.model_validate_json(data)


def labelled(data: bytes) -> None:
    """What people filled in, in a spreadsheet or Label Studio."""
    turns, when = {"sample/collected/a": 5}, datetime(2026, 11, 27, tzinfo=UTC)
    for name, read in (("labelled.csv", table.read), ("labelled.json", label_studio.read)):
        file = PLACE / name
        file.write_bytes(data)
        with suppress(UserError):
            for row in read(file, {"sample": SPACES["sample"]}, turns, "ada", when):
                assert row.labels
                assert set(row.labels) <= set(SPACES["sample"].labels)
                assert row.turn < turns[row.dialogue]


def display(data: bytes) -> None:
    text = shown(_text(data))
    assert all(c.isprintable() or c == "\n" for c in text)
    assert redacted(text) == text


TARGETS: dict[str, Target] = {
    "meld": _corpus("meld", _splits("{}_sent_emo.csv", "train", "dev", "test")),
    "emorynlp": _corpus("emorynlp", _splits("emorynlp_{}_final.csv", "train", "dev", "test")),
    "emorynlp-json": _corpus("emorynlp-json", _splits("emotion-detection-{}.json", "trn", "dev", "tst")),
    "dailydialog": _corpus("dailydialog", _dailydialog),
    "iemocap": _corpus("iemocap6", _iemocap),
    "dialogues": dialogues,
    "records": records,
    "configuration": configuration_file,
    "override": override,
    "configuration-json": configuration_json,
    "manifest": manifest,
    "small-records": small_records,
    "adapter": adapter,
    "replies": replies,
    "requests": requests,
    "labelled": labelled,
    "display": display,
}


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of damaged records are what is asked for here."""
    import logging

    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
