"""One Chromium, one relay and one server of the page for the tests of a module."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from bunker.harness import running_relay
from interop.conftest import pytest_terminal_summary, row
from phone._stage import Phone, Served, phone, serving
from signer.console._stage import browser

if TYPE_CHECKING:
    from playwright.async_api import Browser

__all__ = ["pytest_terminal_summary", "row"]  # the interop matrix, with lines of the phone


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(request: pytest.FixtureRequest) -> "AsyncIterator[Browser]":
    """A headless Chromium: of its pages alone, unless the module says WHOLE_BROWSER."""
    async with browser(shell=not getattr(request.module, "WHOLE_BROWSER", False)) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A relay for everyone, and the server of the page."""
    folder = tmp_path_factory.mktemp("phone")
    async with running_relay(folder / "relay") as relay, serving(folder, relay.url) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _shared(chromium: "Browser", served: Served) -> AsyncIterator[Phone]:
    async with phone(chromium, served) as made:
        await made.first_run(served.link)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def handset(_shared: Phone) -> AsyncIterator[Phone]:
    """A phone that has its key and its relay, the same for all tests of a module.

    Its page is loaded anew; its key, apps, grants and log stay.
    """
    await _shared.page.goto(_shared.origin)
    await _shared.shown("requests")
    yield _shared
    assert _shared.faults == []
