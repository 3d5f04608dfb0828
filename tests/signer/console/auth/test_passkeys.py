"""Passkeys, made and shown by Chromium's virtual authenticator."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bunker_client import RequestDenied
from bunker_signer.store.accounts import FILE_NAME, Accounts
from signer.console._stage import (
    BUILT_IN,
    Stage,
    bind,
    bound,
    follow,
    http,
    paired,
    scan,
    sign,
    sure,
    tap,
    visitor,
)
from signer.console.auth._authenticator import Authenticator

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASK = "Ask for a passkey each time something is changed or allowed"


@asynccontextmanager
async def sensor(page: "Page", **options: Any) -> AsyncIterator[tuple[Any, str]]:
    """Give a page a finger print sensor; yields the DevTools session and the sensor's id."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    added = await session.send(
        "WebAuthn.addVirtualAuthenticator", {"options": {**BUILT_IN, **options}}
    )
    yield session, added["authenticatorId"]


async def add_passkey(page: "Page", origin: str) -> None:
    await page.goto(f"{origin}/devices")
    await tap(page, "Add a passkey")
    await page.get_by_text("The passkey is added").wait_for()


async def ask_each_time(page: "Page", *, wanted: bool) -> None:
    box = page.get_by_label(ASK)
    await (box.check() if wanted else box.uncheck())
    await tap(page.locator("form", has_text=ASK), "Save")
    await page.get_by_text("Saved", exact=True).wait_for()


async def forget_all(page: "Page", origin: str) -> None:
    """Leave no passkey to the next test."""
    await page.goto(f"{origin}/devices")
    asks = page.locator("form[action='/passkeys/remove'] summary")
    while await asks.count():
        await asks.first.click()
        await follow(page.get_by_role("button", name="Yes, remove it").first)
        await page.get_by_text("The passkey is removed").wait_for()


async def test_log_in_by_passkey(chromium: "Browser", on: Stage) -> None:
    """A passkey lets an unbound browser in, to where it wanted to go."""
    async with visitor(chromium, on.origin, worker=True) as phone, sensor(phone):
        await scan(phone, await on.new_link())
        await add_passkey(phone, on.origin)
        await sure(phone, "Unbind this device", "Yes, unbind this device")
        assert phone.url.endswith("/login")
        await phone.goto(f"{on.origin}/activity")
        await tap(phone, "Log in with a passkey")
        assert phone.url.endswith("/activity")
        await phone.get_by_role("heading", name="Requests by day").wait_for()
        await forget_all(phone, on.origin)


async def test_a_removed_passkey_is_none(chromium: "Browser", on: Stage) -> None:
    """A passkey that the owner removed opens nothing, though the phone has it still."""
    async with visitor(chromium, on.origin) as phone, sensor(phone):
        await bind(phone, await on.new_link())
        await add_passkey(phone, on.origin)
        await forget_all(phone, on.origin)
        other = Authenticator(on.origin)  # on another device: log-in is offered still
        other.register(on.data)
        await sure(phone, "Unbind this device", "Yes, unbind this device")
        await tap(phone, "Log in with a passkey")
        await phone.get_by_text("The passkey was not accepted").wait_for()
        await phone.goto(f"{on.origin}/requests")
        await phone.get_by_role("heading", name="This device is not bound").wait_for()
        accounts = Accounts(on.data / FILE_NAME)
        assert accounts.remove_passkey(other.credential_id)
        accounts.close()


async def test_approve_by_passkey(chromium: "Browser", on: Stage) -> None:
    """If the owner wants it, to allow takes the passkey, and to deny does not."""
    async with visitor(chromium, on.origin) as phone, sensor(phone) as (session, sensor_id):
        await bind(phone, await on.new_link())
        await add_passkey(phone, on.origin)
        await ask_each_time(phone, wanted=True)
        await phone.goto(f"{on.origin}/requests")
        async with paired(on) as app:
            signing = sign(app, "with a finger")
            await tap(phone, "Allow once")
            assert (await signing).content == "with a finger"
            assert await _uses(session, sensor_id) == 3  # registered, then to turn the question on

            await session.send(
                "WebAuthn.setUserVerified", {"authenticatorId": sensor_id, "isUserVerified": False}
            )
            refused = sign(app, "somebody else's finger")
            await phone.get_by_role("button", name="Allow once").click()  # and stays
            await tap(phone, "Deny")
            with pytest.raises(RequestDenied):
                await refused
            await session.send(
                "WebAuthn.setUserVerified", {"authenticatorId": sensor_id, "isUserVerified": True}
            )
        await phone.goto(f"{on.origin}/devices")
        await ask_each_time(phone, wanted=False)
        await forget_all(phone, on.origin)


async def test_what_needs_the_passkey(chromium: "Browser", on: Stage) -> None:
    """A stolen cookie alone allows nothing, lets nobody in, and can't turn the question off."""
    async with visitor(chromium, on.origin) as phone, sensor(phone), http(on) as thief:
        await bind(phone, await on.new_link())
        await add_passkey(phone, on.origin)
        await ask_each_time(phone, wanted=True)
        token = await bound(on, thief)
        async with paired(on) as app:
            signing = sign(app)
            await phone.goto(f"{on.origin}/requests")
            question = phone.locator(".question")
            request_id = await question.get_attribute("data-id")
            seen = await phone.locator("input[name=seen]").get_attribute("value")
            for path, form in (
                (f"/requests/{request_id}", {"seen": seen, "answer": "once"}),
                (f"/requests/{request_id}", {"seen": seen, "answer": "always"}),
                ("/confirm", {}),
                ("/devices/link", {}),
                ("/passkeys/add", {"credential": "{}"}),
                ("/passkeys/remove", {"id": "00"}),
                ("/apps/invite", {"key": "default", "profile": "full"}),
                ("/apps/accept", {"key": "default", "profile": "full", "uri": "x"}),
            ):
                for proof in ("", "{}", '{"rawId": "AA", "response": {"clientDataJSON": "e30"}}'):
                    answer = await thief.post(path, data={"csrf": token, "proof": proof, **form})
                    assert answer.status_code == 403, path
            assert await question.is_visible()
            await tap(phone, "Deny")
            with pytest.raises(RequestDenied):
                await signing
        await phone.goto(f"{on.origin}/devices")
        await ask_each_time(phone, wanted=False)
        await forget_all(phone, on.origin)


async def test_a_confirmation_is_for_one_form(chromium: "Browser", on: Stage) -> None:
    """What a passkey confirmed for one answer is worth nothing for another, nor a second time."""
    # Without the worker, which sends what is submitted itself, past the route that this test turns.
    async with visitor(chromium, on.origin) as phone, sensor(phone):
        await bind(phone, await on.new_link())
        await add_passkey(phone, on.origin)
        await ask_each_time(phone, wanted=True)
        async with paired(on) as app:
            signing = sign(app)
            await phone.goto(f"{on.origin}/requests")
            await phone.locator(".question").wait_for()
            # The page's own script is asked for a proof of "once", which is then sent as "always".
            sent: list[str] = []

            async def turn(route: Any) -> None:
                body = route.request.post_data
                sent.extend((body, route.request.url))
                await route.continue_(post_data=body.replace("answer=once", "answer=always"))

            await phone.route("**/requests/*", turn)
            await tap(phone, "Allow once")
            await phone.get_by_text("The passkey was not accepted").wait_for()
            assert "answer=once" in sent[0]
            assert "proof=" in sent[0]
            await phone.unroute("**/requests/*")
            # It stays good for what it was made for, once.
            for status in (200, 403):
                answer = await phone.request.post(
                    sent[1],
                    data=sent[0],
                    headers={
                        "content-type": "application/x-www-form-urlencoded",
                        "origin": on.origin,
                    },
                )
                assert answer.status == status
            assert (await signing).kind == 1
        await phone.goto(f"{on.origin}/devices")
        await ask_each_time(phone, wanted=False)
        await forget_all(phone, on.origin)


async def _uses(session: Any, sensor_id: str) -> int:
    found = await session.send("WebAuthn.getCredentials", {"authenticatorId": sensor_id})
    return int(found["credentials"][0]["signCount"])
