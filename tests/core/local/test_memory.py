"""Memory after a start: what was freed goes back, what is loaded is not looked at again."""

import ctypes
import gc
import subprocess
import sys

import pytest

from bunker_core.local.memory import settle

FREED = """
import os
from pathlib import Path
from bunker_core.local.memory import settle

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

blocks = [bytearray(2_000) for _ in range(10_000)]
above = bytearray(2_000)
del blocks
before = resident()
settle()
print(before - resident())
"""


def test_what_was_freed_goes_back_to_the_system() -> None:
    """Also where something that is still used lies above it: 20 MB of a start are not kept."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library is not glibc")
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, check=True)
    assert int(done.stdout) > 15_000_000


def test_what_is_loaded_is_not_collected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the C library has no such call, as musl and macOS."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    try:
        settle()
        assert gc.get_freeze_count() > 1_000
    finally:
        gc.unfreeze()
