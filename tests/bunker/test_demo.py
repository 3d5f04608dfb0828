"""`bunker demo`, as a new user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path


def test_demo_signs_and_leaves_nothing(tmp_path: Path) -> None:
    """The demo ends well, says what happened, and leaves no file and no process."""
    result = subprocess.run(
        [sys.executable, "-m", "bunker", "demo"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for said in (
        "listens on ws://127.0.0.1:",
        "sealed a new key, npub1",
        'got the signature of "Signed from desktop, key on phone!"',
        "had it decrypted again: the same text",
        "kept nothing: 0 requests",
    ):
        assert said in result.stdout
    assert "secret=…" in result.stdout  # a URI that anyone could use does not belong on a screen
    assert list(tmp_path.iterdir()) == []
    pids = re.findall(r"\(process (\d+)\)", result.stdout)
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
