"""Every page without a fault, in both languages and schemes; which version runs, at which name.

With BUNKER_SCREENSHOTS=1 the pictures of docs/ are taken on the way.
"""

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from bunker_core.describe import LANGUAGES
from bunker_phone.site import Page as PageFile
from bunker_phone.site import Site
from phone._stage import Phone, Served, app_of, phone, sign
from signer.console._stage import axe
from signer.console.browser.test_axe import RUN, SMALL

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

PICTURES = Path(__file__).parents[3] / "docs" / "screenshots"
NARROW = {"width": 320, "height": 640}
PHONE = {"width": 390, "height": 844}
CHANGED = b"/* changed by the server */"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def look(page: "Page", name: str, found: dict[str, list[str]], picture: bool) -> None:
    """Gather what is wrong with a page."""
    if not await page.evaluate("!!window.axe"):
        await page.evaluate(axe())
    violations = (await page.evaluate(RUN))["violations"]
    faults = [
        f"{fault['impact']}: {fault['id']}: {node['target']}"
        for fault in violations
        for node in fault["nodes"]
    ]
    faults += [f"small: {html}" for html in await page.evaluate(SMALL)]
    if (wider := await page.evaluate(WIDER)) > 0:
        faults.append(f"{wider} pixels too wide")
    found[name] = faults
    if picture and os.environ.get("BUNKER_SCREENSHOTS") == "1":
        await page.screenshot(path=PICTURES / f"phone-{name}.png")


@pytest.mark.parametrize(
    ("scheme", "viewport", "locale"),
    [("light", PHONE, "en-GB"), ("dark", NARROW, "de-DE")],
    ids=["light-390-english", "dark-320-german"],
)
async def test_no_fault(
    chromium: "Browser", served: Served, scheme: str, viewport: dict[str, int], locale: str
) -> None:
    """Welcome, seal, recovery, relay, apps, pairing, a question, activity, settings."""
    options: dict[str, Any] = {
        "color_scheme": scheme,
        "viewport": viewport,
        "locale": locale,
        "reduced_motion": "reduce",
    }
    english = locale == "en-GB"
    found: dict[str, list[str]] = {}
    async with phone(chromium, served, **options) as made:
        page = made.page
        await page.goto(served.link)
        await page.locator("main .primary").first.wait_for()
        await look(page, "welcome", found, english)
        await page.locator("main .primary").first.click()
        await page.locator("main details").wait_for()
        await look(page, "seal", found, english)
        await page.locator("main .primary").first.click()
        passphrase = page.locator("main input:not([type=password])")
        await passphrase.wait_for()
        await look(page, "recovery", found, english)
        words = await passphrase.input_value()
        await page.locator("main .primary").click()
        async with page.expect_download():
            await page.locator("main a[download]").click()
        await look(page, "recovery-saved", found, picture=False)
        await page.locator("main input").fill(words)
        await page.locator("main .primary").click()
        await page.locator("#said .good").wait_for()
        await look(page, "apps", found, picture=False)
        await page.locator("main a.primary").click()
        await page.locator("main select").first.wait_for()
        await look(page, "pair", found, english)
        await page.locator("main .primary").first.click()
        uri = await page.locator("#bunker-uri").input_value()
        await look(page, "code", found, english)
        async with app_of(uri) as app:
            await made.go("requests")
            await page.locator(".empty").wait_for()
            await look(page, "empty", found, picture=False)
            asking = sign(app, "Hello from a laptop.", tags=[["t", "nostr"]])
            await page.locator(".answers .allow:enabled").wait_for()
            await look(page, "request", found, english)
            await page.locator(".answers summary").click()
            await look(page, "answers", found, picture=False)
            await page.locator(".answers .allow").click()
            await asking
            warned = sign(app, '{"name":"\u202eAnna"}', kind=0)
            await page.locator(".warning").wait_for()
            await page.locator(".answers .allow:enabled").wait_for()
            await look(page, "warning", found, english)
            await page.locator(".answers .deny").click()
            await page.locator("#said .banner").wait_for()
            warned.cancel()
            for name in ("activity", "settings", "apps", "relay", "add"):
                await made.go(name)
                await look(page, name, found, english and name in ("activity", "settings"))
            await made.go("apps")
            await page.locator(".list .row").first.click()
            await made.shown("app")
            await look(page, "app", found, english)
    assert {name: faults for name, faults in found.items() if faults} == {}
    assert len(found) > 14


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_language_says_everything(language: str) -> None:
    """A sentence of English is in each language, with the same places to fill in."""
    folder = Path(__file__).parents[3] / "packages" / "phone" / "web" / "texts"
    english, other = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("en", language)
    )
    assert english.keys() == other.keys()
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", other[key]))


async def test_the_page_is_small(served: Served) -> None:
    """What a phone loads once: under 2 MB, of which libsecp256k1 is 1.2 MB."""
    sizes = {path: len(page.body) for path, page in served.site.pages.items() if path}
    assert sum(sizes.values()) < 2_000_000, sizes
    assert sizes["app.js"] < 400_000


async def test_first_sight_on_a_slow_phone(chromium: "Browser", served: Served) -> None:
    """With a processor slowed six times the page is drawn in full; the time is printed."""
    async with phone(chromium, served) as made:
        await made.devtools.send("Emulation.setCPUThrottlingRate", {"rate": 6})
        await made.page.goto(served.link)
        await made.page.get_by_role("button", name="Make a new key").wait_for()
        painted = await made.page.evaluate(
            """Promise.all([
              new Promise((resolve) => new PerformanceObserver((list) => {
                const [paint] = list.getEntriesByName("first-contentful-paint");
                if (paint) resolve(paint.startTime);
              }).observe({ type: "paint", buffered: true })),
              new Promise((resolve) => new PerformanceObserver((list) =>
                resolve(list.getEntries().at(-1).startTime)
              ).observe({ type: "largest-contentful-paint", buffered: true })),
            ])"""
        )
        first, largest = painted
        print(f"first paint {first:.0f} ms, first sight of the page {largest:.0f} ms")
        assert 0 < first <= largest


# --- which page it is ----------------------------------------------------------------------------


@asynccontextmanager
async def runs_a_version(chromium: "Browser", served: Served) -> AsyncIterator[Phone]:
    """Yield a phone that runs the page as it is; the server has it again afterwards."""
    before = dict(served.site.pages)
    async with phone(chromium, served) as made:
        await made.first_run(served.link)
        await made.pinned()
        await made.page.reload()
        try:
            yield made
        finally:
            served.site.pages.update(before)


async def test_another_version_is_taken_only_when_the_owner_agrees(
    chromium: "Browser", served: Served
) -> None:
    """A page that the server changed is not run: it is offered with its hash."""
    async with runs_a_version(chromium, served) as made:
        page, pages = made.page, served.site.pages
        await made.show("Settings")
        running = await page.locator("#page-hash").inner_text()
        assert running == served.site.hash
        css = pages["style.css"].body + CHANGED
        pages["style.css"] = PageFile(css, "text/css", sha256(css).hexdigest())
        offer = json.dumps({"id": "e" * 64, "hash": "f" * 64}).encode()
        pages["version.json"] = PageFile(offer, "application/json", "0" * 64)
        await page.reload()
        await made.show("Settings")
        await page.get_by_text("f" * 64).wait_for()
        assert await page.locator("#page-hash").inner_text() == running
        text = await page.evaluate("fetch('/style.css').then((answer) => answer.text())")
        assert "changed by the server" not in text


async def test_the_version_that_the_owner_agrees_to_runs_from_then_on(
    chromium: "Browser", served: Served
) -> None:
    """Agreed to, the other version is fetched, checked against its hashes, and pinned."""
    async with runs_a_version(chromium, served) as made:
        page = made.page
        served.site.pages.update(another_version(served.site))
        await page.reload()
        await made.show("Settings")
        await page.get_by_text(served.site.hash).wait_for()
        await page.get_by_role("button", name="Take it").click()
        await page.locator("#page-hash", has_text=served.site.hash).wait_for()
        await page.get_by_text("Another version is offered").wait_for(state="hidden")
        text = await page.evaluate("fetch('/style.css').then((answer) => answer.text())")
        assert text.endswith(CHANGED.decode())
        async with app_of(await made.pair_uri()) as app:  # key and relay are still there
            await made.show("Requests")
            asking = sign(app)
            await made.allow()
            assert (await asking).content == "Signed by the phone"


def another_version(site: Site) -> dict[str, PageFile]:
    """Return the files that differ in a build with another style sheet."""
    old = site.pages["style.css"]
    css = old.body + CHANGED
    style = PageFile(css, old.media_type, sha256(css).hexdigest())
    code = site.pages["worker.js"].body.replace(old.sha256.encode(), style.sha256.encode())
    worker = PageFile(code, "text/javascript; charset=utf-8", sha256(code).hexdigest())
    assert worker.sha256 != site.pages["worker.js"].sha256
    changed = {"style.css": style, "worker.js": worker}
    all_pages = {**site.pages, **changed}
    lines = [
        f"{item.sha256}  {path}\n"
        for path, item in sorted(all_pages.items())
        if path not in ("", "worker.js", "version.json")
    ]
    said = {"id": sha256("".join(lines).encode()).hexdigest(), "hash": Site(all_pages).hash}
    body = json.dumps(said).encode()
    changed["version.json"] = PageFile(body, "application/json", sha256(body).hexdigest())
    return changed


async def test_the_page_is_at_one_name_alone(chromium: "Browser", served: Served) -> None:
    """Another name that leads to the same server shows no page, and says where the right one is."""
    port = urlsplit(served.origin).port
    context = await chromium.new_context()
    page = await context.new_page()
    for name in ("127.0.0.1", "phone.localhost", "evil.localhost"):
        answer = await page.goto(f"http://{name}:{port}/#join=x")
        assert answer is not None
        assert answer.status == 421
        assert (await page.inner_text("body")).strip() == f"this page is at {served.origin}"
        assert await page.evaluate("navigator.serviceWorker.getRegistrations()") == []
    await context.close()
