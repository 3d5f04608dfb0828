"""The examples for other languages pass, as their readers run them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.require import need

EXAMPLES = Path(__file__).parents[2] / "examples"
BUNKER = Path(sys.executable).with_name("bunker")


def run(folder: Path, *command: str) -> str:
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "BUNKER": str(BUNKER), "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_node_with_nostr_tools() -> None:
    """An app's node tests pair nostr-tools with the testbed and survive its faults."""
    folder = EXAMPLES / "testbed-node"
    need(shutil.which("node"), "node")
    need((folder / "node_modules" / "nostr-tools").is_dir(), "make peers (npm)")
    assert "# pass 4" in run(folder, "node", "--test", "--test-reporter=tap")


def test_go_with_go_nostr() -> None:
    """An app's Go tests pair go-nostr with the testbed and see a denial."""
    need(shutil.which("go"), "go")
    assert run(EXAMPLES / "testbed-go", "go", "test", "-count=1", "./...").startswith("ok")
