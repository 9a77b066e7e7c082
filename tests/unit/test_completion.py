"""Completion in real shells: bash, zsh and fish each complete a line and run it, in a terminal of their own."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from selfemo.cli import complete, main
from selfemo.config import names
from selfemo.data.corpora.table import CORPORA

PROGRAM = f"""#!/bin/sh
if [ -n "$_SELFEMO_COMPLETE" ]; then
    exec {sys.executable} -c 'from selfemo.cli import main; main(prog_name="selfemo")'
fi
echo "RAN $* END"
"""
"""Completes as `selfemo` does, and tells what it was given where that would begin."""
PROMPT = "ready> "
SHELLS = {
    "bash": (["bash", "--rcfile", "start", "-i"], f"source ./bash.script\nPS1='{PROMPT}'\n"),
    "zsh": (
        ["zsh", "-i"],
        f"autoload -Uz compinit\ncompinit -u\nsource ./zsh.script\nunsetopt promptsp\nPROMPT='{PROMPT}'\n",
    ),
    "fish": (
        ["fish", "--private", "--init-command", "source ./start"],
        f"source ./fish.script\nfunction fish_prompt; printf '{PROMPT}'; end\nset fish_greeting\n",
    ),
}
LINES = {
    "dri": "drift",
    "drift --js": "drift --json",
    "canary sh": "canary show",
    "run --config my": "run --config my.yaml",
    "run --set gate.min_g": "run --set gate.min_gain=",
    "run --set policy.precision=fl": "run --set policy.precision=float32",
    "run --set run=ni": "run --set run=night",
    "watch noo": "watch noon",
    "run --set workdir=elsewhere --set run=": "run --set workdir=elsewhere --set run=dawn",
    "data show --corpus mel": "data show --corpus meld",
    "data check cor": "data check corpus",
    "serve --policy models:/self-emo@champ": "serve --policy models:/self-emo@champion",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `selfemo` on the path, a configuration, and some runs."""
    place = tmp_path_factory.mktemp("shell")
    (place / "bin").mkdir()
    (place / "bin" / "selfemo").write_text(PROGRAM)
    (place / "bin" / "selfemo").chmod(0o755)
    for folder in (".selfemo/runs/night", ".selfemo/runs/noon", "elsewhere/runs/dawn", "corpus"):
        (place / folder).mkdir(parents=True)
    (place / "my.yaml").touch()
    return place


@contextmanager
def running(shell: str, place: Path) -> Iterator[int]:
    """An interactive shell that has its script; its terminal."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command, start = SHELLS[shell]
    script = CliRunner().invoke(main, ["completion", shell])
    assert script.exit_code == 0
    (place / f"{shell}.script").write_text(script.stdout)
    (place / "start").write_text(start)
    (place / ".zshrc").write_text(start)
    own = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "HOME": str(place), "TERM": "dumb"}
    process, ours = pty.fork()
    if process == 0:
        os.chdir(place)
        os.execvpe(command[0], command, {**os.environ, **own})
    try:
        until(ours, PROMPT)
        yield ours
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(ours)


def until(terminal: int, end: str) -> str:
    """What is shown, up to some words."""
    seen = ""
    while end not in seen:
        seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_tab_completes_commands_options_files_settings_runs_and_corpora(shell: str, place: Path) -> None:
    with running(shell, place) as terminal:
        for line, wanted in LINES.items():
            os.write(terminal, f"selfemo {line}\t\n".encode())
            seen = until(terminal, " END")
            assert re.findall(r"RAN (.*?)/? END", seen) == [wanted], seen
            if PROMPT not in seen.rpartition(" END")[2]:
                until(terminal, PROMPT)


def test_nothing_heavy_is_imported_to_complete() -> None:
    code = (
        "import sys\nfrom selfemo.cli import main\n"
        "try: main(prog_name='selfemo')\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'kfp', 'boto3', 'numpy', 'pydantic', 'rich', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    asked = {"_SELFEMO_COMPLETE": "bash_complete", "COMP_WORDS": "selfemo run --set po", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, check=True, capture_output=True, text=True
    )
    assert "plain,policy.precision=" in done.stdout


def test_the_names_that_are_offered_are_those_of_the_configuration() -> None:
    written = names.FILE.read_text(encoding="utf-8")
    assert written == names.text(), "write them: python -m selfemo.config.names > src/selfemo/config/names.txt"


def test_the_corpora_that_are_offered_are_those_that_there_are() -> None:
    assert set(complete._corpora()) == set(CORPORA)
