"""The whole story at the size of a phone, with everything real: link, bind, ask, answer, verify."""

import asyncio
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from bunker_client import RequestDenied
from bunker_client.errors import ClientError
from bunker_core.event import parse_event_json, verify
from interop.peers import running
from signer.console._stage import (
    Stage,
    bind,
    follow,
    key_of,
    node_script,
    paired,
    scan,
    sign,
    stage,
    sure,
    tap,
    visitor,
)

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_request_is_approved_on_the_phone(chromium: "Browser", on: Stage) -> None:
    """What the desktop asks for appears on the phone, and a tap there signs it."""
    async with visitor(chromium, on.origin, worker=True) as phone:
        await scan(phone, await on.new_link())
        await phone.get_by_role("heading", name="Nothing is waiting").wait_for()
        async with paired(on, "Coracle") as app:
            signing = sign(app, "Hello from the desk")
            await phone.get_by_role("heading", name="Post a note").wait_for()
            key = key_of(app)
            who = phone.locator(".who")
            assert await who.locator("strong").inner_text() == "Coracle"
            assert await who.locator("code").inner_text() == f"{key[:8]}…{key[-8:]}"
            assert await who.locator(".tag").inner_text() == "unverified name"
            assert await phone.locator("#waiting .row").count() == 0  # nothing beside it
            assert await phone.locator(".content").inner_text() == "Hello from the desk"
            await tap(phone, "Allow once")
            event = await signing
    assert event.content == "Hello from the desk"
    assert verify(event)


async def test_nostr_tools_gets_its_signature(chromium: "Browser", on: Stage) -> None:
    """Another project's client waits for the phone as ours does."""
    script = node_script("nostr_tools_asks.mjs")
    async with visitor(chromium, on.origin) as phone:
        await bind(phone, await on.new_link())
        async with running(*script, await on.new_uri()) as peer:
            await phone.get_by_role("heading", name="Post a note").wait_for()
            assert await phone.locator(".who strong").inner_text() == "nostr-tools"
            await tap(phone, "Allow once")
            signed = await peer.until("signed")
    event = verify(parse_event_json(json.dumps(signed)))
    assert event.content == "asked by nostr-tools"


async def test_deny_tells_the_app(chromium: "Browser", on: Stage) -> None:
    """Denied on the phone is denied at the desk, at once."""
    async with visitor(chromium, on.origin) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        signing = sign(app)
        await tap(phone, "Deny")
        with pytest.raises(RequestDenied):
            await signing
        await phone.get_by_text("Denied", exact=True).wait_for()


async def test_ten_minutes_is_what_it_says(chromium: "Browser", on: Stage) -> None:
    """ "10 minutes" allows this kind to this app until then, and nothing else."""
    async with visitor(chromium, on.origin) as phone, paired(on, "Habla") as app:
        await bind(phone, await on.new_link())
        signing = sign(app, "one")
        await phone.get_by_text("Allow for longer…").click()
        offer = phone.get_by_role("button", name="10 minutes")
        assert "Habla may do this without asking for 10 minutes: Post a note" in (
            await offer.inner_text()
        )
        await follow(offer)
        await signing
        assert (await sign(app, "two")).content == "two"  # nobody was asked
        other = sign(app, "", kind=7)
        await phone.get_by_role("heading", name="React to a post").wait_for()
        await tap(phone, "Deny")
        with pytest.raises(RequestDenied):
            await other
        await phone.goto(f"{on.origin}/apps/default/{key_of(app)}")
        grant = phone.locator(".list .row", has_text="Post a note").first
        until = await grant.locator("time").get_attribute("datetime")
        assert until is not None
        left = _unix(until) - time.time()
        assert 500 < left <= 600


async def test_what_arrives_together_is_one_question(chromium: "Browser", on: Stage) -> None:
    """A burst is shown as one and answered as one, with every content to read."""
    async with visitor(chromium, on.origin) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        signing = [sign(app, f"burst {number}") for number in range(5)]
        await phone.get_by_role("heading", name="Post a note (5 times)").wait_for()
        shown = await phone.locator(".content").all_inner_texts()
        assert sorted(shown) == [f"burst {number}" for number in range(5)]
        await tap(phone, "Allow once")
        events = await asyncio.gather(*signing)
        assert {event.content for event in events} == set(shown)


async def test_two_phones_one_answer(chromium: "Browser", on: Stage) -> None:
    """The first answer counts; the other phone is told what it was, and by whom."""
    async with (
        visitor(chromium, on.origin) as anna,
        visitor(chromium, on.origin) as ben,
        paired(on) as app,
    ):
        await bind(anna, await on.new_link(), "Anna")
        await bind(ben, await on.new_link(), "Ben")
        signing = sign(app)
        await ben.get_by_role("button", name="Deny").wait_for()
        await tap(anna, "Allow once")
        await ben.get_by_text("Allowed, by Anna").wait_for()
        assert (await signing).kind == 1


async def test_both_tap_at_the_same_time(chromium: "Browser", on: Stage) -> None:
    """An answer that comes second, by a page that was not told yet, changes nothing."""
    async with (
        visitor(chromium, on.origin) as anna,
        visitor(chromium, on.origin, java_script_enabled=False) as ben,
        paired(on) as app,
    ):
        await bind(anna, await on.new_link(), "Anna")
        await bind(ben, await on.new_link(), "Ben")
        signing = sign(app)
        await anna.get_by_role("button", name="Deny").wait_for()
        await ben.get_by_role("button", name="Allow once").wait_for()  # it looks by itself
        await tap(anna, "Deny")
        assert anna.url.endswith("done=denied")
        await tap(ben, "Allow once")
        await ben.get_by_text("Denied, by Anna").wait_for()
        with pytest.raises(RequestDenied):
            await signing


async def test_reload_in_the_middle(chromium: "Browser", on: Stage) -> None:
    """A page that is loaded anew shows the same question, which can still be answered."""
    async with visitor(chromium, on.origin, worker=True) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        signing = sign(app, "still here")
        await phone.locator(".question").wait_for()
        await phone.reload()
        assert await phone.locator(".content").inner_text() == "still here"
        await tap(phone, "Allow once")
        assert (await signing).content == "still here"


async def test_without_javascript(chromium: "Browser", on: Stage) -> None:
    """Binding, reading and answering need no script."""
    async with (
        visitor(chromium, on.origin, java_script_enabled=False) as phone,
        paired(on) as app,
    ):
        await scan(phone, await on.new_link())
        # The page asks again by itself, every few seconds.
        assert 'http-equiv="refresh"' in await phone.content()
        signing = sign(app, "plain")
        await phone.get_by_role("heading", name="Post a note").wait_for()
        await tap(phone, "Allow once")
        await phone.get_by_text("Allowed", exact=True).wait_for()
        assert (await signing).content == "plain"


async def test_card_within_300_ms(chromium: "Browser", on: Stage) -> None:
    """From the app's request to the card on the screen; the best of many, for a busy machine."""
    taken: list[float] = []
    card_seen = (
        "new Promise((resolve) => new MutationObserver(() => { "
        "if (document.querySelector('.question')) resolve(Date.now()) })"
        ".observe(document.body, { childList: true, subtree: true }))"
    )
    async with visitor(chromium, on.origin) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        while not taken or (min(taken) >= 300 and len(taken) < 20):
            await phone.get_by_role("heading", name="Nothing is waiting").wait_for()
            # The order of what is sent to the browser: it watches before the app asks.
            watching = asyncio.create_task(phone.evaluate(card_seen))
            await phone.evaluate("0")
            start = time.time()
            signing = sign(app)
            taken.append(await watching - start * 1000)
            await tap(phone, "Allow once")
            await signing
    print("milliseconds from request to card:", ", ".join(f"{ms:.0f}" for ms in taken))
    assert min(taken) < 300


async def test_a_thumb_on_its_way_allows_nothing(chromium: "Browser", on: Stage) -> None:
    """What appears by itself can't be answered in the moment in which it appears."""
    buttons_dead = (
        "new Promise((resolve) => new MutationObserver(() => { "
        "const fields = document.querySelector('.question fieldset');"
        "if (fields) resolve(fields.disabled) })"
        ".observe(document.body, { childList: true, subtree: true }))"
    )
    async with visitor(chromium, on.origin) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        watching = asyncio.create_task(phone.evaluate(buttons_dead))
        await phone.evaluate("0")
        signing = sign(app)
        assert await watching
        await tap(phone, "Allow once")  # waits until it is alive
        await signing


async def test_expiry(chromium: "Browser", relay_url: str, folder: "Path") -> None:
    """Who does not answer has denied: the app is told, and so is the page."""
    arguments = ("--console", "127.0.0.1:0", "--qr", "--approval-timeout", "6s")
    async with (
        stage(relay_url, folder, arguments) as on,
        visitor(chromium, on.origin) as phone,
        paired(on) as app,
    ):
        await bind(phone, on.link)
        signing = sign(app)
        await phone.locator(".question").wait_for()
        await phone.get_by_text("Nobody answered in time").wait_for()
        with pytest.raises(ClientError, match="nobody answered"):
            await signing


async def test_revoked_while_it_waits(chromium: "Browser", on: Stage) -> None:
    """An app that is revoked gets nothing any more, not even what was asked before."""
    async with visitor(chromium, on.origin) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        signing = sign(app, "too late")
        await phone.locator(".question").wait_for()
        await phone.goto(f"{on.origin}/apps/default/{key_of(app)}")
        await sure(phone, "Revoke", "Yes, end its access")
        await phone.get_by_text("The app is revoked").wait_for()
        await phone.goto(f"{on.origin}/requests")
        await tap(phone, "Allow once")
        with pytest.raises(ClientError):
            await signing


async def test_signer_restarted_in_the_middle(
    chromium: "Browser", relay_url: str, folder: "Path"
) -> None:
    """The page finds the new process by itself, and the request that was waiting is still there."""
    async with stage(relay_url, folder) as first:
        port = first.origin.rpartition(":")[2]
        same = ("--console", f"127.0.0.1:{port}", "--qr")
        async with visitor(chromium, first.origin, worker=True) as phone, paired(first) as app:
            await bind(phone, first.link)
            signing = sign(app, "survives")
            await phone.locator(".question").wait_for()
            await first.signer.kill()
            await phone.get_by_text("The signer can’t be reached").wait_for()
            async with stage(relay_url, folder, same) as second:
                assert second.origin == first.origin
                await phone.get_by_text("The signer can’t be reached").wait_for(state="hidden")
                await tap(phone, "Allow once")
                assert (await signing).content == "survives"


def _unix(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
