"""The console's pages are loaded when the first is asked for, and once."""

import asyncio
import threading
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

from _modules import modules_after
from bunker_core.errors import BunkerError
from bunker_signer.cli.console import listening
from bunker_signer.console import LIBRARIES, server
from bunker_signer.console.server import Pages


class _Console:
    """What `Pages` asks of the console: to be closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class _Making:
    """Makes the app once it is let; counts."""

    def __init__(self) -> None:
        self.console = _Console()
        self.go_on = threading.Event()
        self._begun = threading.Event()
        self.times = 0

    def __call__(self) -> Any:
        self.times += 1
        self._begun.set()
        assert self.go_on.wait(30)
        return self.console, self._app

    async def begins(self) -> None:
        """Return when it is called, by whatever thread."""
        assert await asyncio.to_thread(self._begun.wait, 30)

    async def _app(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})


async def _ask(pages: Pages) -> int:
    """Return the status of an answer."""
    said: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("no body is read")

    async def send(message: Any) -> None:
        said.append(message)

    await pages({"type": "http"}, receive, send)
    return int(said[0]["status"])


def test_a_console_that_nobody_opens_loads_no_page() -> None:
    """The processes at rest hold neither templates nor the web framework in memory."""
    heavy = {"jinja2", "starlette", "bunker_signer.console.app", "bunker_signer.console.pages"}
    assert not heavy & modules_after("import bunker_signer.console.server")
    assert heavy <= modules_after("import bunker_signer.console.app")  # the test can fail


async def test_the_pages_are_loaded_once_and_by_a_thread() -> None:
    """The loop turns while they are; who comes meanwhile waits for the same ones."""
    make = _Making()
    pages = Pages(make)
    first, second = (asyncio.create_task(_ask(pages)) for _ in range(2))
    await make.begins()
    make.go_on.set()
    assert [await first, await second, await _ask(pages)] == [200, 200, 200]
    assert make.times == 1


async def test_who_goes_away_takes_the_pages_from_nobody() -> None:
    """The first request is dropped while they are loaded, and the second is answered."""
    make = _Making()
    pages = Pages(make)
    first = asyncio.create_task(_ask(pages))
    await make.begins()
    second = asyncio.create_task(_ask(pages))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    make.go_on.set()
    assert await second == 200
    assert make.times == 1


async def test_closing_ends_what_is_open_whenever_it_was_loaded() -> None:
    """Streams of a console end with the signer: of one that is loaded, and of one that comes."""
    make = _Making()
    make.go_on.set()
    pages = Pages(make)
    pages.close()  # nothing is there yet
    assert await _ask(pages) == 200
    assert make.console.closed
    make.console.closed = False
    pages.close()
    assert make.console.closed


async def test_pages_that_can_not_be_loaded_are_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An update put other files there: a stranger's requests do not try again and again."""
    tries = 0

    def broken() -> Any:
        nonlocal tries
        tries += 1
        raise ImportError("no name `rows`")

    pages = Pages(broken)
    assert [await _ask(pages), await _ask(pages)] == [503, 503]
    assert tries == 1
    assert caplog.text.count("start the signer anew") == 1
    pages.close()


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
