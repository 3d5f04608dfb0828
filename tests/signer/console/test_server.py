"""The console is loaded when the first browser connects, and once."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bunker_core.errors import BunkerError
from bunker_signer.cli.console import listening
from bunker_signer.console import LIBRARIES, server
from bunker_signer.console.server import Pages
from bunker_signer.service.listener import BoundedServer
from support.modules import modules_after


class _Console:
    """What `Pages` asks of the console: to be closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class _Making:
    """Makes the console and its server once it is let; counts."""

    def __init__(self) -> None:
        self.console = _Console()
        self.go_on = threading.Event()
        self._begun = threading.Event()
        self.times = 0

    def __call__(self) -> Any:
        self.times += 1
        self._begun.set()
        assert self.go_on.wait(30)
        config = uvicorn.Config(
            self._app, lifespan="off", log_config=None, loop="none", ws="none", interface="asgi3"
        )
        return self.console, BoundedServer(config)

    async def begins(self) -> None:
        """Return when it is called, by whatever thread."""
        assert await asyncio.to_thread(self._begun.wait, 30)

    async def _app(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def listening_at() -> Iterator[tuple[socket.socket, int]]:
    """Yield a socket that listens, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, listener.getsockname()[1]


async def _ask(port: int) -> bytes:
    """Return the first line of an answer; "" if the connection is closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    try:
        async with asyncio.timeout(30):
            return (await reader.readline()).strip()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_a_console_that_nobody_opens_loads_nothing_of_the_web() -> None:
    """The processes at rest hold no server of HTTP, no templates, no web framework in memory."""
    heavy = {"jinja2", "starlette", "bunker_signer.console.app", "bunker_signer.console.pages"}
    server = {"uvicorn", "h11", "bunker_signer.service.listener"}
    at_rest = modules_after("import bunker_signer.console.server, bunker_signer.service.service")
    assert not (heavy | server) & at_rest
    assert heavy <= modules_after("import bunker_signer.console.app")  # the test can fail
    assert server <= modules_after("import bunker_signer.service.listener")


async def test_the_console_is_loaded_once_and_by_a_thread() -> None:
    """The loop turns while it is; who comes meanwhile waits for the same one, or goes away."""
    make = _Making()
    with listening_at() as (listener, port):
        pages = Pages(listener, make)
        pages.open()
        gone = asyncio.create_task(_ask(port))
        await make.begins()
        waiting = asyncio.create_task(_ask(port))
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        make.go_on.set()
        assert await waiting == await _ask(port) == b"HTTP/1.1 204 No Content"
        assert make.times == 1
        await pages.close()
        assert make.console.closed  # its streams have ended
        with pytest.raises(ConnectionRefusedError):
            await _ask(port)


async def test_closing_before_anybody_came_loads_nothing() -> None:
    """And does not wait for a visitor."""
    make = _Making()
    with listening_at() as (listener, _):
        pages = Pages(listener, make)
        pages.open()
        async with asyncio.timeout(30):
            await pages.close()
    assert make.times == 0


async def test_a_console_that_can_not_be_loaded_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An update put other files there: nobody waits, and a stranger's tries do not load again."""
    tries = 0

    def broken() -> Any:
        nonlocal tries
        tries += 1
        raise ImportError("no name `rows`")

    with listening_at() as (listener, port):
        pages = Pages(listener, broken)
        pages.open()
        assert await _ask(port) == b""
        with pytest.raises(ConnectionRefusedError):
            await _ask(port)
        await pages.close()
    assert tries == 1
    assert caplog.text.count("start the signer anew") == 1


def test_all_that_the_pages_need_is_looked_for_at_the_start() -> None:
    """The list is that of the extra `console`, so that nothing is missed at the first visit."""
    wanted = {
        item.partition(">")[0].replace("-", "_")
        for item in requires("nostr-bunker-signer") or []
        if 'extra == "console"' in item or "extra == 'console'" in item
    }
    assert wanted == set(LIBRARIES)


def test_a_missing_library_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """And how to install it; no port is taken."""
    monkeypatch.setattr(server, "LIBRARIES", (*LIBRARIES, "no_such_library"))
    with (
        pytest.raises(BunkerError, match=r"needs no_such_library: .* brings it"),
        listening("127.0.0.1:0", "", (), None, None),
    ):
        pass


def test_every_module_of_the_console_can_be_loaded() -> None:
    """What a page imports is found wrong here, not at the first visit."""
    folder = Path(server.__file__).parent
    names = {
        ".".join(("bunker_signer.console", *path.relative_to(folder).with_suffix("").parts))
        for path in folder.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert names <= modules_after(f"import {', '.join(sorted(names))}")
    assert len(names) > 20
