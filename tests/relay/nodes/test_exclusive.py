"""The address and the data directory that a relay takes before it serves anybody."""

import contextlib
import errno
import fcntl
import socket
from pathlib import Path
from typing import Final

import pytest

from bunker_relay.nodes.exclusive import LOCK, StartError, bind, lock

CLIENTS: Final = 300
PATIENCE: Final = 10.0  # seconds


def test_clients_that_come_during_the_start_are_let_in() -> None:
    """After a restart all clients come back at once, before the relay accepts the first one."""
    with contextlib.ExitStack() as stack:
        (listener,) = bind("127.0.0.1", 0)
        stack.enter_context(listener)
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(listener.getsockname(), PATIENCE))


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "\udcff"])
def test_a_text_that_is_no_host_is_said(host: str) -> None:
    """Whether a name server or Python's own IDNA turns it away."""
    with pytest.raises(StartError, match="check --host"):
        bind(host, 0)


def test_a_data_directory_is_for_one_relay(tmp_path: Path) -> None:
    """A second one is told what holds it, until the first ends; the lock keeps its time."""
    with lock(tmp_path):
        before = (tmp_path / LOCK).stat().st_mtime_ns
        with pytest.raises(StartError, match="in use by another relay"), lock(tmp_path):
            pass
    with lock(tmp_path):
        assert (tmp_path / LOCK).stat().st_mtime_ns == before


def test_a_file_system_without_locks_is_no_other_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file system says is passed on: nobody looks for a relay that is not there."""

    def none(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(StartError, match="No locks available"), lock(tmp_path):
        pass
