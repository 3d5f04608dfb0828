"""A PostgreSQL that takes connections and does not answer: everything ends in time."""

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_relay.store.outcome import Outcome, StoreError
from bunker_relay.store.store import Store
from relay.store._saving import save
from support.wire import Peer, Refused, Start, note

if TYPE_CHECKING:
    from support.postgres import PostgresServer

_SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Stands before a server and forwards, until it is frozen; then it only takes."""

    def __init__(self, server: str, folder: str) -> None:
        self._server = server
        self._frozen = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/{_SOCKET}")
        self._listener.listen()
        self._spawn(self._accept)

    def freeze(self) -> None:
        """Forward nothing more."""
        self._frozen.set()

    def close(self) -> None:
        """End all connections."""
        for item in (self._listener, *self._sockets):
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            self._sockets += (client, server)
            if self._frozen.is_set():
                continue
            server.connect(self._server)
            self._spawn(self._copy, client, server)
            self._spawn(self._copy, server, client)

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(65_536)) and not self._frozen.is_set():
                sink.sendall(data)
        if not self._frozen.is_set():
            sink.close()

    def _spawn(self, target: object, *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]


@pytest.fixture
def frozen(postgres: "PostgresServer") -> Iterator[tuple[Proxy, str]]:
    """A proxy and the URL of an empty database behind it."""
    url = postgres.fresh_url()
    folder = url.partition("host=")[2].partition("&")[0]
    with tempfile.TemporaryDirectory(prefix="proxy-") as own:
        proxy = Proxy(f"{folder}/{_SOCKET}", own)
        yield proxy, url.replace(f"host={folder}", f"host={own}")
        proxy.close()


def _event(number: int) -> Event:
    return Event(f"{number:064x}", "a" * 64, 1, 1, (), "", "d" * 128)


async def _save(store: Store, number: int) -> Outcome | StoreError:
    (outcome,) = await save(store, _event(number))
    return outcome


async def test_a_store_does_not_wait_for_ever(frozen: tuple[Proxy, str]) -> None:
    """A write and a query fail after seconds, on old connections and new ones; close returns."""
    proxy, url = frozen
    store = Store(url, query_timeout=0.3, busy_timeout=0.3)
    assert await _save(store, 1) is Outcome.SAVED
    assert len((await store.find([Filter()], 1, default=9, most=9))[0]) == 1
    proxy.freeze()
    async with asyncio.timeout(25):
        for number in (2, 3):
            assert str(await _save(store, number)) == "database is not available"
            with pytest.raises(StoreError):
                await store.find([Filter()], 1, default=9, most=9)
        store.save(_event(4), lambda _: None)
        await store.close(0.1)


async def test_a_relay_ends_in_time(frozen: tuple[Proxy, str], start: Start) -> None:
    """A client hears of it, and SIGTERM is obeyed within shutdown_timeout, in the middle of it."""
    proxy, url = frozen
    config = f'database = "{url}"\nshutdown_timeout = 1\n'
    config += "store.query_timeout = 0.5\nstore.busy_timeout = 0.5"
    relay = start(config=config)
    key = SecretKey.generate()
    async with Peer(relay.url) as peer:
        assert (await peer.publish(note(key)))[0]
        proxy.freeze()
        assert await peer.publish(note(key, "x")) == (False, "error: database is not available")
        with pytest.raises(Refused, match=r"^CLOSED error:"):
            await peer.subscribe("s", {"kinds": [1]})
        await peer.send("EVENT", note(key, "y"))
        began = time.monotonic()
        assert await asyncio.to_thread(relay.stop) == 0
    assert time.monotonic() - began < 15, "3 s on a quiet machine; it was 40 and more"


async def test_a_file_waits_for_nobody(tmp_path: Path) -> None:
    """Close commits what waits, and takes as long as that takes."""
    store = Store(tmp_path / "relay.sqlite3")
    outcomes: list[Outcome | StoreError] = []
    for number in range(100):
        store.save(_event(number), outcomes.append)
    await store.close()
    await asyncio.sleep(0)
    assert outcomes == [Outcome.SAVED] * 100
