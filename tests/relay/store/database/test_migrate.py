"""A database of an earlier version: what the owner sees of its way to this one."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from bunker_relay import logs
from bunker_relay.config import Log
from bunker_relay.store.database import migrate


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """A logger keeps the standard error that it was made with."""
    logs.configure(Log())
    yield
    logs.configure(Log())


def test_it_is_said_before_and_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each; nothing for a database that is new, or of this version."""
    engine = create_engine(f"sqlite:///{tmp_path / 'relay.sqlite3'}")
    with engine.begin() as connection:
        migrate.upgrade(connection, "0001")
    with engine.begin() as connection:
        migrate.prepare(connection)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "bringing the database up to date" in lines[0]
    assert "takes minutes for a million events" in lines[0]
    assert "the database is up to date" in lines[1]
    with engine.begin() as connection:
        migrate.prepare(connection)
    assert capsys.readouterr().err == ""
    engine.dispose()


def test_signs_of_life_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """systemd, or `bunker up`, is asked for more time for as long as it takes; the log goes on."""
    monkeypatch.setattr(migrate, "_SIGN", 0.01)
    monkeypatch.setattr(migrate, "_LINE", 0.0)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(30)
        with migrate._telling(time.monotonic()):
            for _ in range(3):
                assert channel.recv(200).startswith(b"EXTEND_TIMEOUT_USEC=30000000\n")
    assert "still bringing the database up to date" in capsys.readouterr().err
