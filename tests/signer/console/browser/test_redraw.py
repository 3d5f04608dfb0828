"""The page changes while somebody is at it: no tap is lost, none hits what it was not meant for."""

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bunker_client import RequestDenied
from signer.console._stage import Stage, bind, bound, follow, http, paired, sign, visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

    from bunker_client import RemoteSigner

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The page's stream of events; what else comes in it is up to the test.
STREAM = """window.EventSource = class extends EventSource {
  constructor(url) { super(url); window.stream = this }
}"""
TOLD = """([name, data]) => {
  window.stream.dispatchEvent(new MessageEvent(name, { data }));
  return eval(look);
}"""
# Answers are on the screen, and can be given.
READY = "fieldset:not(:disabled) .allow:not(:disabled)"


async def told(page: "Page", name: str, data: str, look: str = "null") -> Any:
    """Tell the page of a change, as the server would; return how it looks in that moment."""
    return await page.evaluate(TOLD.replace("eval(look)", look), [name, data])


async def card(page: "Page", *changes: tuple[str, str]) -> str:
    """Return the question that is shown as the server sends it, with changes."""
    text = await page.locator("#question").inner_html()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


WARNED = ('<section class="panel event">', '<p class="new">Look!</p><section class="panel event">')


@asynccontextmanager
async def asked(
    chromium: "Browser", on: Stage, content: str = "asked"
) -> "AsyncIterator[tuple[Page, RemoteSigner, Any]]":
    """Show a bound phone a question; yields its page, the app that asks, and the app's task."""
    async with visitor(chromium, on.origin) as page, paired(on) as app:
        await page.add_init_script(STREAM)
        await bind(page, await on.new_link())
        signing = sign(app, content)
        await page.locator(READY).wait_for()
        yield page, app, signing


async def stop_the_clock(page: "Page") -> None:
    """Let no time pass on the page but what the test says: a finger stays down for a second."""
    await page.clock.install()
    await page.clock.pause_at(time.time() + 60)


async def rest(page: "Page") -> None:
    """Wait until the last click is over: in the turn after it, the page may change again."""
    await page.evaluate("new Promise((done) => setTimeout(done))")


async def press(page: "Page", button: str) -> None:
    """Put a finger on a button."""
    box = await page.locator(button).bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await page.mouse.down()


async def test_a_tap_outlives_a_change(chromium: "Browser", on: Stage) -> None:
    """What arrives between the press of a button and its click is shown after the click."""
    async with asked(chromium, on, "tapped") as (page, _, signing):
        await stop_the_clock(page)
        await press(page, ".allow")
        await told(page, "question", await card(page, WARNED, ("big allow", "big allow other")))
        await told(page, "waiting", '<span id="waiting-count" data-count="7"></span>')
        assert await page.locator(".new, .other").count() == 0
        await page.mouse.up()
        assert (await signing).content == "tapped"


async def test_a_key_outlives_a_change(chromium: "Browser", on: Stage) -> None:
    """So it is with the space bar, whose click comes when it is let go."""
    async with asked(chromium, on, "pressed") as (page, _, signing):
        await stop_the_clock(page)
        await page.locator(".allow").focus()
        await page.keyboard.down("Space")
        await told(page, "question", await card(page, WARNED, ("big allow", "big allow other")))
        await page.keyboard.up("Space")
        assert (await signing).content == "pressed"


async def test_a_change_is_shown_after_the_tap(chromium: "Browser", on: Stage) -> None:
    """A tap that leads nowhere holds nothing back, and neither does a finger that stays."""
    async with asked(chromium, on) as (page, _, signing):
        await stop_the_clock(page)
        await press(page, ".content")
        await told(page, "question", await card(page, WARNED))
        assert await page.locator(".new").count() == 0
        await page.mouse.up()
        await page.clock.run_for(1)
        assert await page.locator(".new").count() == 1

        await page.clock.run_for(350)  # until it can be answered
        await press(page, ".deny")
        await told(page, "question", await card(page, ("Look!", "Look again!")))
        await page.clock.run_for(999)
        assert await page.locator(".new").inner_text() == "Look!"
        await page.clock.run_for(1)
        assert await page.locator(".new").inner_text() == "Look again!"
        await page.clock.run_for(350)
        # It was pressed when the card was another one.
        await page.mouse.up()
        await page.clock.run_for(1000)
        assert not signing.done()
        await follow(page.locator(".deny"))
        with pytest.raises(RequestDenied):
            await signing


async def test_what_somebody_is_at_stays(chromium: "Browser", on: Stage) -> None:
    """Open parts, what is typed, focus and selection; only what was confirmed is asked anew."""
    async with asked(chromium, on, "long " * 1000) as (page, _, signing):
        more = '<input type="password" name="passphrase"><input type="checkbox" name="sure">'
        await told(
            page,
            "question",
            await card(page, ('<details class="longer">', more + '<details class="longer">')),
        )
        await page.locator(READY).wait_for()
        for summary in await page.locator(".question summary").all():
            await summary.click()
        await page.locator("[name=sure]").check()
        await page.locator("[name=passphrase]").fill("half typ")
        await rest(page)
        await page.evaluate(
            "() => { window.before = [...document.querySelectorAll('button, details, input')];"
            "before.find((field) => field.name === 'passphrase').setSelectionRange(2, 5) }"
        )
        text = await page.evaluate(
            "() => { const made = document.querySelector('#question').cloneNode(true);"
            "for (const part of made.querySelectorAll('[open]')) part.open = false;"
            "return made.innerHTML }"
        )
        changed = text.replace(*WARNED).replace('value="once"', 'value="10m"')
        seen = await told(
            page,
            "question",
            changed,
            "[document.activeElement.value,"
            " document.activeElement.selectionStart, document.activeElement.selectionEnd,"
            " document.querySelectorAll('details[open]').length,"
            " before.filter((part) => !part.isConnected).map((part) => part.value),"
            " document.querySelector('[name=sure]').checked,"
            " document.querySelector('.deny').disabled]",
        )
        assert seen == ["half typ", 2, 5, 2, ["once"], False, True]
        await follow(page.locator(".deny:not(:disabled)"))
        with pytest.raises(RequestDenied):
            await signing


async def test_another_question_is_another_card(chromium: "Browser", on: Stage) -> None:
    """Nothing of a card goes over to the next: not what is open, not what was typed."""
    async with asked(chromium, on) as (page, _, signing):
        await page.locator(".longer summary").click()
        shown = await page.locator(".question").get_attribute("data-id")
        assert shown is not None
        await page.evaluate("window.before = document.querySelector('.question .allow')")
        text = await card(page, (shown, "another"))
        await rest(page)
        seen = await told(
            page,
            "question",
            text.replace(' open=""', ""),
            "[document.querySelectorAll('details[open]').length, before.isConnected,"
            " document.querySelector('fieldset').disabled]",
        )
        assert seen == [0, False, True]
        await page.reload()
        await follow(page.locator(".deny"))
        with pytest.raises(RequestDenied):
            await signing


async def test_an_answer_on_its_way_is_sent(chromium: "Browser", on: Stage) -> None:
    """What becomes of the card after the tap changes nothing about what was tapped, once."""
    async with asked(chromium, on, "on its way") as (page, _, signing):
        held: list[Any] = []
        async with page.expect_request("**/alive"):
            await page.route("**/alive", lambda route: held.append(route))
            await page.locator(".allow").dblclick()
        await told(page, "question", '<div class="empty over"><h1>Over</h1></div>')
        await page.get_by_role("heading", name="Over").wait_for()
        assert len(held) == 1
        async with page.expect_navigation(url="**done=allowed"):
            await held[0].continue_()
        assert (await signing).content == "on its way"


async def test_the_list_keeps_its_focus(chromium: "Browser", on: Stage) -> None:
    """Who goes through the list of what waits stays where they are when others come and go."""
    async with asked(chromium, on) as (page, app, first):
        others = [sign(app, "", kind=kind) for kind in (7, 6, 1984)]
        rows = page.locator("#waiting .row")
        await rows.nth(2).wait_for()
        await rows.nth(1).focus()
        text = await page.locator("#waiting").inner_html()
        one = await rows.nth(0).evaluate("(row) => row.parentElement.outerHTML")
        await told(page, "waiting", text.replace(one, ""))
        assert await rows.count() == 2
        assert await rows.nth(0).evaluate("(row) => row === document.activeElement")
        for _ in range(4):
            await page.goto(f"{on.origin}/requests")
            await follow(page.locator(".deny"))
            await page.wait_for_url("**done=denied")
        for signing in (first, *others):
            with pytest.raises(RequestDenied):
                await signing


async def test_the_page_says_when_it_is_up_to_date(chromium: "Browser", on: Stage) -> None:
    """After a loss of the signer it is not the connection that ends the warning: it is the news."""
    async with asked(chromium, on) as (page, _, signing):
        await page.route("**/events*", lambda _route: None)  # connected never, as far as it knows
        offline = page.locator("#offline")
        async with page.expect_request("**/events*"):
            await page.evaluate("window.stream.onerror()")
        await offline.wait_for()
        await page.evaluate("window.stream.dispatchEvent(new Event('open'))")
        assert await offline.is_visible()
        await stop_the_clock(page)
        await press(page, ".content")
        await told(page, "waiting", '<span id="waiting-count" data-count="1"></span>')
        assert await offline.is_visible()  # nothing moves under the finger
        await page.mouse.up()
        await page.clock.run_for(1)
        assert not await offline.is_visible()
        await follow(page.locator(".deny"))
        with pytest.raises(RequestDenied):
            await signing


async def test_the_list_comes_last(on: Stage) -> None:
    """What tells a page that it is up to date comes after the question that it has to show."""
    names: list[str] = []
    async with http(on) as phone, paired(on) as app:
        csrf = await bound(on, phone)
        async with phone.stream("GET", "/events?shown=&over=", timeout=60) as stream:
            signing: Any = None
            async for line in stream.aiter_lines():
                if line == "event: shown" or (names and line.startswith("event: ")):
                    names.append(line.removeprefix("event: "))
                if len(names) == 3:
                    break
                signing = signing or sign(app)
        assert names == ["shown", "question", "waiting"]
        card = (await phone.get("/requests")).text
        path = card.split('method="post" action="')[1].split('"')[0]
        await phone.post(path, data={"csrf": csrf, "answer": "deny", "seen": seen_in(card)})
        with pytest.raises(RequestDenied):
            await signing


def seen_in(card: str) -> str:
    return card.split('name="seen" value="')[1].split('"')[0]
