"""Other projects' clients sign through the phone: all that they can, from login to logout."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from bunker_core.event import parse_event, verify
from interop.driven import LIBRARIES, LibraryError, driven
from interop.peers import OK, Row, library_version, running
from interop.test_clients import COMMANDS, NOT_OFFERED, command
from phone._stage import Phone, Served, phone

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = 10_000.0  # milliseconds: then the finger looks again
libraries = pytest.mark.parametrize("library", COMMANDS)


@asynccontextmanager
async def owner(page: "Page") -> AsyncIterator[None]:
    """Someone at the phone who allows everything, but no reactions."""

    from playwright.async_api import Error

    async def answer() -> None:
        while True:
            with contextlib.suppress(Error):  # the question changed under the finger
                await page.locator(".answers .allow:enabled").wait_for(timeout=0)
                question = await page.locator("article").element_handle()
                reaction = (await question.inner_text()).count("React to a post")
                button = await question.wait_for_selector(".deny" if reaction else ".allow")
                assert button is not None
                await button.click(timeout=SOON)
                await question.wait_for_element_state("hidden", timeout=SOON)

    task = asyncio.create_task(answer())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(chromium: "Browser", served: Served) -> AsyncIterator[Phone]:
    """One phone for many clients, its key unlocked for half an hour."""
    async with phone(chromium, served) as made:
        await made.first_run(served.link)
        await made.show("Settings")
        await made.page.get_by_label("Stay unlocked").select_option("30")
        yield made


@libraries
async def test_a_client_signs_through_the_phone(library: str, row: Row, shared: Phone) -> None:
    """The bunker:// code is all that it needs; ping, signatures, encryption, refusal, logout."""
    program = command(library)
    row.name = f"{library_version(library)}, bunker://, phone"
    uri = await shared.pair_uri()
    await shared.show("Requests")
    async with owner(shared.page), running(*program, "bunker", uri) as peer:
        await asyncio.wait_for(peer.finish(), 100)
        row.outcomes = peer.outcomes
        row.expect(not_offered=NOT_OFFERED[library])
        event = verify(parse_event(peer.told["signed"]))
        assert event.pubkey == peer.told["user"]


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name not in COMMANDS])
async def test_another_client_signs_through_the_phone(
    library: str, row: Row, shared: Phone
) -> None:
    """All other libraries, with what their common driver asks for: pairing, a note, no reaction."""
    row.name = f"{library_version(library)}, bunker://, phone"
    row.operations = ("connect", "get_public_key", "sign_event", "denied")
    uri = await shared.pair_uri()
    await shared.show("Requests")
    async with owner(shared.page), driven(library) as client:
        await asyncio.wait_for(client.connect(uri), 60)
        row.outcomes |= {"connect": OK, "get_public_key": OK}
        event = verify(parse_event(await asyncio.wait_for(client.sign(1, "Hello"), 60)))
        assert (event.pubkey, event.content) == (client.user, "Hello")
        row.outcomes["sign_event"] = OK
        with pytest.raises(LibraryError, match="denied: sign_event:7") as refusal:
            await asyncio.wait_for(client.sign(7, "+"), 60)
        row.outcomes["denied"] = OK
        row.texts["denied"] = str(refusal.value)


async def test_nostr_tools_is_met_by_its_own_code(row: Row, shared: Phone, served: Served) -> None:
    """nostrconnect://, pasted into the page."""
    program = command("nostr-tools")
    row.name = f"{library_version('nostr-tools')}, nostrconnect://, phone"
    page = shared.page
    async with running(*program, "nostrconnect", served.relay) as peer:
        uri = await peer.until("uri")
        await page.goto(f"{served.origin}/#pair")
        await page.get_by_label("Or its address, pasted").fill(uri)
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_role("button", name="Pair", exact=True).click()
        await page.get_by_text("The app is paired").wait_for()
        await shared.show("Requests")
        async with owner(page):
            await asyncio.wait_for(peer.finish(), 100)
    row.outcomes = peer.outcomes
    row.expect(not_offered=())
