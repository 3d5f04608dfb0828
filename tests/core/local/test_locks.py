"""Locks between processes: one holds, the others are told or wait, and a death lets go."""

import fcntl
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bunker_core.local.locks import changing, hold

HOLDER = """
import sys
from pathlib import Path
from bunker_core.local.locks import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_file_is_held_by_one_until_it_lets_go(tmp_path: Path) -> None:
    """A second holder is told at once; the file is private, and keeps its content and its time."""
    path = tmp_path / "lock"
    handle = hold(path)
    assert path.stat().st_mode & 0o777 == 0o600
    os.write(handle, b"42\n")
    os.utime(path, (1, 1))
    with pytest.raises(BlockingIOError):
        hold(path)
    os.close(handle)
    os.close(hold(path))
    assert (path.read_bytes(), path.stat().st_mtime) == (b"42\n", 1)


def test_a_process_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    """Whoever comes after it need not clear anything away."""
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            hold(path)
        process.kill()
    os.close(hold(path))


def test_a_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """It is not taken for one that another holds."""
    with pytest.raises(FileNotFoundError):
        hold(tmp_path / "none" / "lock")


def test_changes_of_a_folder_wait_for_each_other(tmp_path: Path) -> None:
    """While one is under way another would wait, also in the same process; an error ends it too."""
    other = os.open(tmp_path, os.O_RDONLY)
    with suppress(ValueError), changing(tmp_path):
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise ValueError
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    with changing(tmp_path):
        pass
