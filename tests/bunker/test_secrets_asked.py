"""Whatever command asks for a secret: no other process of the same user can read it there."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from support.require import need

# At the first question of a command, says whether its memory can be read, and ends.
_AT_THE_QUESTION = """
import ctypes, os, sys
import click.termui

def asked(_text):
    sys.stderr.write(f"dumpable {ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)}")
    sys.stderr.flush()
    os._exit(7)

click.termui.visible_prompt_func = click.termui.hidden_prompt_func = asked
from bunker.cli import main
main()
"""


@pytest.mark.parametrize(
    "command",
    [
        ("up", "--port", "0"),
        ("init",),
        ("signer", "unlock", "--passphrase"),
    ],
    ids=" ".join,
)
def test_nobody_reads_along_at_a_question(command: tuple[str, ...], tmp_path: Path) -> None:
    """PR_GET_DUMPABLE is 0 when the command waits, so ptrace and /proc/PID/mem are refused."""
    need(sys.platform == "linux", "prctl is Linux's")
    terminal, its_end = pty.openpty()
    try:
        run = subprocess.run(
            [sys.executable, "-c", _AT_THE_QUESTION, *command, "--data", str(tmp_path / "data")],
            stdin=its_end,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        )
    finally:
        os.close(terminal)
        os.close(its_end)
    assert (run.returncode, run.stderr) == (7, "dumpable 0"), run.stdout
