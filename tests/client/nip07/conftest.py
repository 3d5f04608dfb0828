"""A web site, and a browser with the extension, for the tests of a module."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from client.nip07._stage import NAMES, Stage, built, site, staged


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A web site."""
    with site() as at:
        yield at


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=NAMES)
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A browser with the extension, which has no key and knows no signer."""
    folder = tmp_path_factory.mktemp(request.param)
    async with staged(request.param, folder / "browser", built()) as made:
        await made.settle()
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def page(stage: Stage, origin: str) -> Any:
    """A tab with the site, loaded anew for each test."""
    return await stage.visit(origin)
