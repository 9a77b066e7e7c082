"""ConvoKit's layout: utterances a line, and what is known of conversations and speakers in files beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfemo.errors import UserError

Lines = Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]


def rows(path: Path, lines: Lines) -> Iterator[tuple[int, dict[str, Any]]]:
    """Utterances with their meta-data as columns: ``meta.x`` of their own, ``conversation.x`` and ``speaker.x``.

    The files of conversations and speakers are held in memory. Old corpora write ``user``, ``root`` and ``reply-to``.

    Raises:
        UserError: If a file beside the utterances is not what it should be.
    """
    conversations = _by_id(path / "conversations.json")
    speakers = _by_id(path / "speakers.json") or _by_id(path / "users.json")
    for number, row in lines(path / "utterances.jsonl"):
        key = str(row.get("conversation_id", row.get("root")))
        who = row.get("speaker", row.get("user"))
        found = {k: row.get(k) for k in ("id", "text", "timestamp")}
        found |= {"speaker": who, "conversation_id": key, "reply_to": row.get("reply_to", row.get("reply-to"))}
        for prefix, meta in (
            ("meta", row.get("meta")),
            ("conversation", _meta(conversations.get(key))),
            ("speaker", _meta(speakers.get(str(who)))),
        ):
            if isinstance(meta, dict):
                found |= {f"{prefix}.{name}": value for name, value in meta.items()}
        yield number, found


def _meta(known: Any) -> Any:
    return known.get("meta", known) if isinstance(known, dict) else None


def _by_id(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON: {str(error)[:200]}", where=str(path), fix="fetch the corpus again") from None
    if not isinstance(data, dict):
        raise UserError("not an object by id", where=str(path), fix="fetch the corpus again")
    return data
