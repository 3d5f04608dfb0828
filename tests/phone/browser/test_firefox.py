"""The phone's signer in a real Firefox: the key sealed by a passphrase, a request, its answer."""

import json
from pathlib import Path
from typing import Final

import pytest

from bunker_core.event import verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip49
from client.nip07._bidi import Firefox, firefox
from phone._stage import PASSPHRASE, Served, app_of, sign
from signer.console._stage import PHONE
from signer.console.browser.test_firefox import FITS, Page, program

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL: Final = {"width": 320, "height": 640}
# A saved file is in the profile's folder at once, without a question.
DOWNLOADS: Final = """
user_pref("browser.download.folderList", 2);
user_pref("browser.download.dir", {folder});
user_pref("browser.download.always_ask_before_handling_new_types", false);
"""


async def saved(folder: Path) -> Path | None:
    """Return the file that was saved, once it is whole."""
    found = [path for path in folder.glob("*.txt") if path.read_text().endswith("\n")]
    return found[0] if found else None


class Handset(Page):
    """A tab with the signer's page."""

    def __init__(self, browser: Firefox, tab: str) -> None:
        super().__init__(browser, tab)
        self._tab = browser

    async def open(self, url: str) -> None:
        """Begin to open an address: the page changes it at once, so nobody waits for its end."""
        await self._tab.command("browsingContext.navigate", context=self.tab, url=url, wait="none")

    async def fill(self, label: str, text: str) -> None:
        """Type into the field of that label, once it is to be seen."""
        field = (
            "[...document.querySelectorAll('label')].find((label) => label.checkVisibility() && "
            f"label.innerText.trim().startsWith({json.dumps(label)}))?.querySelector('input')"
        )
        await self.until(f"!!({field})")
        await self.js(
            f"((input) => {{ input.value = {json.dumps(text)};"
            f" input.dispatchEvent(new Event('input', {{ bubbles: true }})) }})({field})"
        )

    async def reads(self, text: str) -> None:
        """Wait until a text is to be read."""
        await self.until(f"document.body.innerText.includes({json.dumps(text)})")

    async def fits(self) -> None:
        """Nothing is wider than the two sizes of a phone."""
        for viewport in (SMALL, PHONE):
            await self.size(viewport)
            assert await self.js(FITS), (viewport, await self.text())


async def test_a_passphrase_seals_the_key_in_firefox(tmp_path: Path, served: Served) -> None:
    """From the link to a signature, in the size of a phone; a wrong passphrase opens nothing."""
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    preferences = DOWNLOADS.replace("{folder}", json.dumps(str(downloads)))
    async with firefox(program(), tmp_path / "firefox", preferences) as browser:
        made = await browser.command("browsingContext.create", type="tab")
        page = Handset(browser, str(made["context"]))
        await page.size(PHONE)
        await page.open(served.link)
        await page.tap("Make a new key")
        await page.until("document.querySelector('details') !== null")
        await page.js("document.querySelector('details').setAttribute('open', '')")
        await page.fits()
        await page.fill("Passphrase (12", PASSPHRASE)
        await page.fill("The same again", PASSPHRASE)
        await page.tap("Seal with the passphrase")

        await page.reads("Passphrase of the copy")
        words = await page.js("document.querySelector('main input').value")
        await page.tap("Make the copy")
        await page.reads("Save the file")
        await page.js("document.querySelector('a[download]').click()")
        await page.fill("Now type", words)
        await page.fits()
        await page.tap("Check, and begin")
        await page.reads("This phone is the relay’s signer now.")

        await page.open(f"{served.origin}/#pair")
        await page.tap("Show the code")
        uri = await page.until("document.querySelector('#bunker-uri')?.value")
        await page.fits()
        async with app_of(uri) as app:
            await page.open(f"{served.origin}/#requests")
            asking = sign(app, "Signed in Firefox")
            await page.reads("Post a note")
            await page.fits()
            await page.tap("Allow once")
            await page.fill("Passphrase", "a wrong passphrase")
            await page.tap("Unlock")
            await page.reads("wrong passphrase")
            await page.tap("Allow once")
            await page.fill("Passphrase", PASSPHRASE)
            await page.tap("Unlock")
            event = verify(await asking)
            assert event.content == "Signed in Firefox"
        copy = await browser.until(lambda: saved(downloads))
        secret = bytearray(32)
        nip49.decrypt(copy.read_text().strip(), words, secret)
        assert SecretKey(secret).pubkey == event.pubkey  # the copy that was saved is this very key

        await page.js("navigator.serviceWorker.ready.then(() => true)")  # it has the page's files
        await page.open(f"{served.origin}/#settings")
        await page.js("void setTimeout(() => location.reload())")
        await page.reads("Sealed by a passphrase")
        await page.until(
            f"document.querySelector('#page-hash')?.innerText === {json.dumps(served.site.hash)}"
        )
        await page.fits()
