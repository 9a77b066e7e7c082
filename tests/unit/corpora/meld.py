"""MELD's files, written by hand."""

from __future__ import annotations

from pathlib import Path

MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"
GOOD = '1,"Oh my God, he\u2019s lost it.",Phoebe,sadness,negative,0,1,4,7,a,b'


def write_meld(path: Path, *rows: str, encoding: str = "utf-8") -> Path:
    path.mkdir(exist_ok=True)
    for split in ("train", "dev"):
        (path / f"{split}_sent_emo.csv").write_bytes((MELD_HEADER + "\r\n".join(rows) + "\r\n").encode(encoding))
    return path
