"""A slow client is not a dead one."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from bunker_core.event import Event
from bunker_relay.store.database import migrate
from bunker_relay.store.database.engine import open_engine
from bunker_relay.store.store import FILE
from bunker_relay.store.write import save_all
from support.wire import Peer, Start, narrow_socket


def _fill(data: Path) -> None:
    """Store 4 MB of notes."""
    data.mkdir()
    engine = open_engine(data / FILE, writes=True)
    with engine.begin() as connection:
        migrate.prepare(connection)
        for number in range(100):
            content = "x" * 40_000
            save_all(connection, [Event(f"{number:064x}", "a" * 64, 1, 1, (), content, "d" * 128)])
    engine.dispose()


def _open(metrics: int) -> bool:
    text = httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
    return "bunker_relay_connections_open 0.0" not in text


@pytest.mark.parametrize("plain", ["false", "true"])
async def test_whoever_takes_something_lives(start: Start, tmp_path: Path, plain: str) -> None:
    """An answer that takes three seconds arrives whole, with a time-out of 1.5.

    Who takes nothing is closed.
    """
    _fill(tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        metrics = int(listener.getsockname()[1])
    config = f"metrics.port = {metrics}\n"
    config += f"ping_interval = 0.2\nping_timeout = 1.5\nplain = {plain}\n"
    relay = start(data=tmp_path / "data", config=config)
    async with Peer(
        relay.url, sock=narrow_socket(relay.port), max_queue=1, close_timeout=0
    ) as peer:
        await peer.send("REQ", "s", {"limit": 500})
        for number in range(100):
            assert (await peer.next())[2]["id"] == f"{number:064x}"
            await asyncio.sleep(0.03)  # a slow link: this is what is tested, nothing is awaited
        assert (await peer.next())[0] == "EOSE"
        assert "keepalive" not in relay.log()
    async with Peer(
        relay.url, sock=narrow_socket(relay.port), max_queue=1, close_timeout=0
    ) as peer:
        peer.socket.transport.pause_reading()
        await peer.send("REQ", "s", {"limit": 500})
        async with asyncio.timeout(30):
            while await asyncio.to_thread(_open, metrics):  # closed, by whoever took nothing
                pass
