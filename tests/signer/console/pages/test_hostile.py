"""What a hostile app sends is shown and does nothing."""

import time
from typing import TYPE_CHECKING

import pytest

from bunker_client import RemoteSigner
from bunker_client.errors import ClientError
from bunker_core.nips.nip46 import ClientMetadata
from signer.console._stage import DESK, PHONE, Stage, bind, key_of, paired, sign, tap, visitor

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = (
    "<script>window.hacked=1</script><img src=http://127.0.0.1:9/x onerror=window.hacked=1>"
    "<svg onload=window.hacked=1></svg><a href=javascript:window.hacked=1>x</a>"
    "</pre></section></article><form action=http://127.0.0.1:9/><button>Allow once</button></form>"
    "{{ 7*7 }}{% raw %}&lt;b&gt;"
)


async def refuse(phone: "Page", signing: object) -> None:
    await tap(phone, "Deny")
    assert phone.url.endswith("done=denied")
    with pytest.raises(ClientError):
        await signing  # type: ignore[misc]


async def test_script_tags_are_text(chromium: "Browser", on: Stage) -> None:
    """Markup in content, tags and names is read as it was sent: live, loaded, and in the lists."""
    about = ClientMetadata(SCRIPT[:200], "javascript:window.hacked=1", "http://127.0.0.1:9/x.png")
    evil = RemoteSigner.from_uri(await on.new_uri(), metadata=about)
    async with visitor(chromium, on.origin) as phone, evil as app:
        await bind(phone, await on.new_link())
        signing = sign(app, SCRIPT, tags=[[SCRIPT, SCRIPT], ["d"], []])
        for _ in ("live", "loaded"):
            assert await phone.locator(".content").inner_text() == SCRIPT
            assert SCRIPT[:60] in await phone.locator(".tags").inner_text()
            assert await phone.get_by_role("button", name="Allow once").count() == 1
            assert await phone.locator("main img, main script, main svg:not(.icon)").count() == 0
            assert await phone.evaluate("window.hacked") is None
            await phone.reload()
        await refuse(phone, signing)
        for path in ("apps", f"apps/default/{key_of(app)}", "activity"):
            await phone.goto(f"{on.origin}/{path}")
            assert (
                await phone.locator("main script, main img, main a[href^=javascript]").count() == 0
            )
            assert await phone.evaluate("window.hacked") is None


async def test_direction_marks_turn_nothing_round(chromium: "Browser", on: Stage) -> None:
    """Marks that would show other text than what is signed are shown by number, with a warning."""
    async with visitor(chromium, on.origin) as phone, paired(on, "Good\u202eppA") as app:
        await bind(phone, await on.new_link())
        signing = sign(app, "pay \u202eecila\u202c and \u200b\u2066bob")
        await phone.locator(".question").wait_for()
        shown = await phone.locator(".content").inner_text()
        assert "".join(shown.split()) == "payU+202EecilaU+202CandU+200BU+2066bob"
        assert await phone.get_by_text("invisible or direction-changing").is_visible()
        assert "\u202e" not in await phone.content()
        await refuse(phone, signing)


async def test_100_kb_and_a_thousand_tags(chromium: "Browser", on: Stage) -> None:
    """A huge event leaves the page quick, the answers in place, and the rest to be read."""
    text = "".join(f"{number:07} " for number in range(12_800))
    async with visitor(chromium, on.origin) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        start = time.monotonic()
        signing = sign(app, text, tags=[["t", f"tag {number}"] for number in range(1000)])
        await phone.locator(".question").wait_for()
        assert time.monotonic() - start < 10
        assert await phone.get_by_text("100.0 kB").is_visible()
        assert await phone.get_by_text("940 more tags are not shown").count() == 1
        box = await phone.get_by_role("button", name="Allow once").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 844
        await phone.get_by_text("Show 101200 more characters").click()
        assert await phone.locator("details .content").text_content() == text[1200:]
        assert await phone.evaluate("document.documentElement.scrollWidth") <= 390
        await tap(phone, "Allow once")
        assert (await signing).content == text


@pytest.mark.parametrize("at", [0, 253402300800, 2**53 - 1])
async def test_impossible_dates(chromium: "Browser", on: Stage, at: int) -> None:
    """A date that is none, or long ago, is shown as it is, with a warning."""
    async with visitor(chromium, on.origin) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        signing = sign(app, "when?", created_at=at)
        await phone.get_by_text("It is dated more than a day off").wait_for()
        facts = await phone.locator(".event .facts").inner_text()
        assert str(at) in facts or "1970" in facts
        await refuse(phone, signing)


async def test_words_that_do_not_break(chromium: "Browser", on: Stage) -> None:
    """A name and a content without a space widen neither a phone nor a desk."""
    long = "W" * 4000
    for size in (PHONE, DESK):
        async with visitor(chromium, on.origin, viewport=size) as page, paired(on, long) as app:
            await bind(page, await on.new_link())
            signing = sign(app, long, tags=[["x", long]])
            await page.locator(".question").wait_for()
            await page.get_by_text("Allow for longer…").click()
            width = await page.evaluate("document.documentElement.clientWidth")
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            await refuse(page, signing)
