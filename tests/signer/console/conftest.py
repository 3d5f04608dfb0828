"""One Chromium and one signer with a console for the tests of a module."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from signer.console._stage import Stage, browser, stage

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> "AsyncIterator[Browser]":
    """A headless Chromium."""
    async with browser(shell=True) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(relay_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A signer with a console, shared by the tests of a module: each binds devices of its own."""
    async with stage(relay_url, tmp_path_factory.mktemp("signer")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory for a signer of a test's own."""
    return tmp_path / "signer"
