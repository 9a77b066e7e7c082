"""What a step works in is gone when its artifact is there, whoever was killed when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfemo.config import Config
from selfemo.context import Context


class Killed(BaseException):
    """Not even error handling runs."""


def test_a_step_that_was_killed_after_it_published_leaves_nothing_when_it_is_given_again(
    small_local: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(small_local)

    def work(out: Path, scratch: Path) -> dict[str, Any]:
        (out / "a").write_text("1")
        scratch.mkdir()
        (scratch / "checkpoint").write_text("large")
        return {}

    def dies(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("selfemo.context.seconds_since", lambda _: 0.0)
        patched.setattr("selfemo.context.log.info", lambda said, *_: dies() if "is published" in said else None)
        patched.setattr("selfemo.context.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            context.step("prepare", 0, {}, work)
    left = context.workdir / "scratch" / small_local.run
    assert list(left.rglob("checkpoint"))
    assert context.step("prepare", 0, {}, work).uri == context.uri("prepare", 0, {})
    assert list(left.iterdir()) == []
