"""Whatever is raised, a person reads a line or two; a defect of ours leaves a file to attach."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path

import click
import pytest
from botocore.exceptions import EndpointConnectionError
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from pydantic import TypeAdapter, ValidationError

from selfemo import logs
from selfemo.cli.base import Cli
from selfemo.errors import Exit, UserError
from selfemo.unexpected import explained, told
from tests.conftest import there


def raised(error: BaseException) -> tuple[str, Exit]:
    try:
        raise error
    except BaseException as caught:
        return told(caught)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("bad", where="here", fix="mend it"), "selfemo: here: bad\n  fix: mend it"),
        (OSError(errno.ENOSPC, "No space left on device", "/work/x"), "/work/x: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), "this machine: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", b"/proc/x"), "/proc/x: Permission denied"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", Path("/a/file/x")), "/a/file/x: Not a directory"),
        (ConnectionResetError("reset"), "the network: reset"),
        (MemoryError(), "not enough memory"),
        (EndpointConnectionError(endpoint_url="http://s3"), "S3: Could not connect"),
        (MlflowException("token expired"), "MLflow: token expired"),
    ],
)
def test_what_is_its_users_to_mend_is_said_so_with_exit_code_2(error: Exception, words: str) -> None:
    said, code = raised(error)
    assert code == 2
    assert words in said
    assert "fix: " in said


def test_a_defect_of_ours_is_a_line_and_a_file_that_only_its_user_can_read() -> None:
    said, code = raised(KeyError("http://bob:PW@h\x1b[31m"))
    assert code is Exit.DEFECT
    assert said.startswith("selfemo: this is a defect of selfemo: KeyError: ")
    file = Path(there(re.search(r"report it with the file (\S+)$", said))[1])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert "Traceback" in text
    assert "def raised" not in said
    assert "PW" not in said + text
    assert "\x1b" not in said + text
    file.unlink()


def test_a_defect_on_a_full_disk_is_still_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    said, code = raised(ValueError("x"))
    assert code is Exit.DEFECT
    assert "could not be written: No space left" in said


@given(st.text(), st.sampled_from([ValueError, KeyError, RuntimeError, TypeError, UserError, OSError, MemoryError]))
def test_no_error_is_shown_as_a_traceback_or_with_control_characters(text: str, kind: type[Exception]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfemo.unexpected._kept", lambda error: "f")
        said, _ = told(kind(text))
    assert "Traceback" not in said
    assert all(c.isprintable() or c == "\n" for c in said)


def test_a_record_of_somebody_elses_is_not_called_the_users_fault() -> None:
    with pytest.raises(ValidationError) as found:
        TypeAdapter(int).validate_python("x")
    assert explained(found.value) is None


@pytest.mark.parametrize(("error", "code"), [(ValueError("x"), 70), (OSError(errno.EACCES, "no", "/x"), 2)])
def test_the_command_line_ends_with_it_whatever_a_command_raises(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfemo.unexpected._kept", lambda error: "f")

    @click.group(cls=Cli)
    def group() -> None:
        pass

    @group.command()
    def fail() -> None:
        raise error

    @group.command()
    def usage() -> None:
        raise click.UsageError("say more")

    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == code
    assert result.output.startswith("selfemo: ")
    assert "say more" in CliRunner().invoke(group, ["usage"]).output


def test_a_step_says_what_its_user_can_mend_and_has_it_written_down(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(logs, "configure", lambda: None)
    monkeypatch.setattr(logs.log, "propagate", True)
    logs.on_failure(told.append)
    with pytest.raises(OSError, match="No space"), logs.step("train", 1):
        raise OSError(errno.ENOSPC, "No space left on device", "/work/x")
    with (
        pytest.raises(ValueError, match="x"),
        logs.step("report"),
    ):  # it comes after what failed
        raise ValueError("x")
    assert [text.splitlines()[0] for text in told] == ["train of round 1 failed: /work/x: No space left on device"]
    assert "report failed: ValueError: x" in caplog.text
