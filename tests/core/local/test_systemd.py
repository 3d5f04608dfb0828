"""sd_notify: what is sent, and that nothing is where there is no systemd."""

import socket
from pathlib import Path

import pytest

from bunker_core.local.systemd import notify, watchdog_interval


@pytest.mark.parametrize("abstract", [False, True])
def test_notify(tmp_path: Path, abstract: bool) -> None:
    """The state goes to the socket, in the file system or abstract."""
    address = f"@bunker-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + address[1:] if abstract else address)
        channel.settimeout(5)
        assert notify("READY=1", address)
        assert channel.recv(100) == b"READY=1"


def test_no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a socket, or with one that is gone, nothing happens."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    assert not notify("READY=1", str(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("given", "expected"), [("", None), ("0", None), ("x", None), ("30000000", 15.0)]
)
def test_watchdog(monkeypatch: pytest.MonkeyPatch, given: str, expected: float | None) -> None:
    """A sign of life is due at half of systemd's patience."""
    monkeypatch.setenv("WATCHDOG_USEC", given)
    assert watchdog_interval() == expected
