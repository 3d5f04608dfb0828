"""What a process that we start ourselves is told."""

import sys

import pytest

from bunker_core.local.process import bare_environment, module_command

UNPACKED = {
    "_PYI_ARCHIVE_FILE": "/opt/bunker",
    "_PYI_APPLICATION_HOME_DIR": "/tmp/_MEI0",
    "_PYI_PARENT_PROCESS_LEVEL": "0",
}
OURS = {"BUNKER_RELAY_URL": "wss://relay.example", "HOME": "/root", "LD_LIBRARY_PATH": "/x"}


def test_bare_environment_of_a_python_is_empty() -> None:
    assert bare_environment({**OURS, **UNPACKED}) == {}


def test_single_executable_is_told_where_it_is_unpacked_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would unpack itself again: 110 MB, and seconds for one picture."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert bare_environment({**OURS, **UNPACKED}) == UNPACKED
    assert module_command("bunker", "up", isolated=True) == [sys.executable, "-m", "bunker", "up"]
