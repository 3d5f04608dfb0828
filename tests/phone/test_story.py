"""The phone as a signer, awake: first run, pairing both ways, requests, and what can go wrong."""

from typing import TYPE_CHECKING

import pytest

from bunker_client import RequestDenied
from phone._stage import Phone, Served, app_of, phone, sign

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_first_signature(chromium: "Browser", served: Served) -> None:
    """From the link to a signature: key, passkey, recovery copy, relay, app, answer."""
    async with phone(chromium, served) as made:
        await made.first_run(served.link)
        assert len(served.joined) >= 1
        async with app_of(await made.pair_uri()) as app:
            await made.show("Requests")
            asking = sign(app)
            await made.asked()
            assert await made.page.get_by_role("heading", name="Post a note").is_visible()
            await made.allow()
            event = await asking
            assert event.pubkey == await app.get_public_key()
            assert event.content == "Signed by the phone"


async def test_denied(handset: Phone) -> None:
    """A no is a no, and it is told at once."""
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        asking = sign(app)
        await handset.page.get_by_role("button", name="Deny").click()
        with pytest.raises(RequestDenied):
            await asking
