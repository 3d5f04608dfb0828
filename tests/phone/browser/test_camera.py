"""The phone's camera reads an app's code, a key's, and the joining link; it goes out afterwards."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from bunker_client import Pairing
from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_nsec
from bunker_core.nips.nip46 import ClientMetadata
from phone._stage import Served, phone, sign
from signer.console._stage import browser
from signer.console.browser.test_camera import hold

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What was switched on is kept, to see afterwards whether it went out.
KEPT = """
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
window.tracks = [];
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const stream = await open(wanted);
  window.tracks.push(...stream.getTracks());
  return stream;
};
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the camera sees, read when it is switched on."""
    return tmp_path_factory.mktemp("camera") / "code.y4m"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(film: Path) -> AsyncIterator["Browser"]:
    """A Chromium with a camera; whether a page may use it is asked as usual."""
    flags = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}")
    async with browser(*flags) as started:
        yield started


async def is_out(page: "Page") -> bool:
    """Tell whether a camera was on, and is not any more."""
    states = await page.evaluate("window.tracks.map((track) => track.readyState)")
    return bool(states) and set(states) == {"ended"}


async def test_the_camera_brings_the_key_the_relay_and_an_app(
    chromium: "Browser", served: Served, film: Path
) -> None:
    """Three codes are held before it; the app then has a signature of the key that was shown."""
    key = SecretKey.generate()
    secret = bytearray(32)
    key.copy_secret(secret)
    async with phone(chromium, served) as made:
        page = made.page
        await made.context.grant_permissions(["camera"], origin=served.origin)
        await made.context.add_init_script(KEPT)
        hold(film, encode_nsec(secret))
        await page.goto(served.origin)
        await page.get_by_role("button", name="Bring my key").click()
        await page.get_by_role("button", name="Scan a code").click()
        await page.locator("input[type=password]").first.evaluate(
            "(field) => new Promise((done) => {"
            " const look = () => field.value ? done() : requestAnimationFrame(look); look() })"
        )
        assert await is_out(page)
        await page.get_by_role("button", name="Continue").click()
        await made.seal()
        await made.save_recovery()

        hold(film, served.link)
        await page.get_by_role("button", name="Scan the link").click()
        await page.get_by_text("This phone is the relay’s signer now.").wait_for()

        async with Pairing([served.relay], metadata=ClientMetadata("Amethyst")) as pairing:
            hold(film, str(pairing.uri))
            await made.go("pair")
            await page.get_by_role("button", name="Scan with the camera").click()
            await page.get_by_role("heading", name="Pair this app?").wait_for()
            assert await is_out(page)
            await page.get_by_text("Amethyst").wait_for()
            await page.get_by_role("button", name="Pair", exact=True).click()
            app = await pairing.wait(60)
            await page.get_by_text("The app is paired").wait_for()
            await made.show("Requests")
            asking = sign(app)
            await made.allow()
            assert (await asking).pubkey == key.pubkey


async def test_the_camera_goes_out(chromium: "Browser", served: Served, film: Path) -> None:
    """By its button, behind another page, and when the phone is put away; refused, it says so."""
    hold(film, "https://example.org")
    async with phone(chromium, served) as made:
        page = made.page
        await made.context.add_init_script(KEPT)
        await page.goto(served.origin)
        await page.get_by_role("button", name="Bring my key").click()
        scan = page.get_by_role("button", name="Scan a code")
        await scan.click()
        await page.get_by_text("The camera can’t be used.").wait_for()
        await made.context.grant_permissions(["camera"], origin=served.origin)
        looking = page.get_by_text("Looking for a code")
        put_away = (
            "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        for way in ("button", "away"):
            await page.evaluate("delete document.hidden; window.tracks.length = 0")
            await scan.click()
            await looking.wait_for()
            if way == "button":
                await page.get_by_role("button", name="Stop the camera").click()
            else:
                await page.evaluate(put_away)
            await looking.wait_for(state="hidden")
            assert await is_out(page)
