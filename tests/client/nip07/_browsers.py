"""Chromium and Firefox with the extension, driven the same way."""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from bunker_client.nip07.install import CHROMIUM_ORIGIN, FIREFOX_ID
from client.nip07._bidi import EVERY, ONE_LOOK, PATIENCE, BidiError, Firefox

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

FIREFOX_UUID = "6ac6ab4c-3f2b-4d64-9d3c-0d6f0f3a5a11"
FIREFOX_PREFERENCES = f"""
user_pref("extensions.webextensions.uuids", "{{\\"{FIREFOX_ID}\\":\\"{FIREFOX_UUID}\\"}}");
user_pref("extensions.webextOptionalPermissionPrompts", false);
user_pref("xpinstall.signatures.required", false);
user_pref("intl.accept_languages", "en-GB, en");
user_pref("network.dns.localDomains", "notes.example");
"""


class Browser(Protocol):
    """A browser with the extension; a tab is whatever it was opened as."""

    own: str  # the address that the extension's pages begin with

    async def open(self, url: str) -> Any:
        """Open a tab."""

    async def go(self, tab: Any, url: str) -> None:
        """Load a page in a tab, also the one that is there: a sixth of what a new tab costs."""

    async def close(self, tab: Any) -> None:
        """Close a tab or window."""

    async def evaluate(self, tab: Any, expression: str) -> Any:
        """Return what an expression, or its promise, gives."""

    async def find(self, page: str) -> Any | None:
        """Return the tab or window of one of the extension's pages; None when it is not there."""

    async def there(self, tab: Any) -> bool:
        """Tell whether a tab or window is open."""

    async def open_own(self, page: str, opener: Any) -> Any:
        """Open one of the extension's pages in a tab; `opener` is another one that is open."""

    async def type(self, tab: Any, text: str) -> None:
        """Press keys; a line's end is Enter, a tabulator Tab."""

    async def stop_background(self) -> None:
        """End the extension's background, as the browser does when nothing happens."""

    async def scheme(self, tab: Any, scheme: str) -> None:
        """Show a tab light or dark."""

    async def size(self, tab: Any, width: int, height: int) -> None:
        """Give a tab's page that many CSS pixels."""

    async def picture(self, tab: Any) -> bytes:
        """Return what a tab shows, as PNG."""


class Chromium:
    """Chromium, by DevTools."""

    own = CHROMIUM_ORIGIN

    def __init__(self, context: "BrowserContext") -> None:
        self.context = context

    async def open(self, url: str) -> "Page":
        page = await self.context.new_page()
        await page.goto(url)
        return page

    async def go(self, tab: "Page", url: str) -> None:
        await tab.goto(url)

    async def close(self, tab: "Page") -> None:
        await tab.close()

    async def evaluate(self, tab: "Page", expression: str) -> Any:
        from playwright.async_api import Error

        try:
            return await tab.evaluate(expression)
        except Error as error:
            raise Unready(str(error)) from None

    async def find(self, page: str) -> "Page | None":
        found = [tab for tab in self.context.pages if tab.url.startswith(f"{self.own}{page}")]
        return found[0] if found else None

    async def there(self, tab: "Page") -> bool:
        return not tab.is_closed()

    async def open_own(self, page: str, opener: "Page") -> "Page":
        return await self.open(f"{self.own}{page}")

    async def type(self, tab: "Page", text: str) -> None:
        from playwright.async_api import Error

        names = {"\n": "Enter", "\t": "Tab"}
        with contextlib.suppress(Error):  # what a key ends may be gone before it has come back
            for key in text:
                await tab.keyboard.press(names.get(key, key))

    async def stop_background(self) -> None:
        devtools = await self.context.new_cdp_session(self.context.pages[0])
        stopped = asyncio.Event()

        def updated(event: dict[str, Any]) -> None:
            if any(version["runningStatus"] == "stopped" for version in event["versions"]):
                stopped.set()

        await devtools.send("ServiceWorker.enable")
        await devtools.send("ServiceWorker.stopAllWorkers")
        devtools.on("ServiceWorker.workerVersionUpdated", updated)
        await asyncio.wait_for(stopped.wait(), PATIENCE)  # a message to one that ends is lost
        await devtools.detach()

    async def scheme(self, tab: "Page", scheme: str) -> None:
        await tab.emulate_media(color_scheme="dark" if scheme == "dark" else "light")

    async def size(self, tab: "Page", width: int, height: int) -> None:
        await tab.set_viewport_size({"width": width, "height": height})

    async def picture(self, tab: "Page") -> bytes:
        return await tab.screenshot()


class FirefoxBrowser:
    """Firefox, by WebDriver BiDi."""

    own = f"moz-extension://{FIREFOX_UUID}/"

    def __init__(self, browser: Firefox) -> None:
        self.browser = browser
        self.open = browser.open
        self.go = browser.go
        self.close = browser.close

    async def evaluate(self, tab: str, expression: str) -> Any:
        try:
            return await self.browser.evaluate(tab, expression)
        except BidiError as error:
            raise Unready(str(error)) from None

    async def find(self, page: str) -> str | None:
        for found in await self.browser.contexts():
            if found["url"].startswith(f"{self.own}{page}"):
                return str(found["context"])
        return None

    async def there(self, tab: str) -> bool:
        return tab in {found["context"] for found in await self.browser.contexts()}

    async def open_own(self, page: str, opener: str) -> str:
        # Firefox lets nobody but the extension go there.
        await self.evaluate(opener, f"chrome.tabs.create({{url: '{page}'}})")
        return str(await until(lambda: self.find(page)))

    async def type(self, tab: str, text: str) -> None:
        names = {"\n": "\ue007", "\t": "\ue004"}
        keys = [
            {"type": kind, "value": names.get(key, key)}
            for key in text
            for kind in ("keyDown", "keyUp")
        ]
        pressed = {"type": "key", "id": "keyboard", "actions": keys}
        with contextlib.suppress(BidiError):
            await self.browser.command("input.performActions", context=tab, actions=[pressed])

    async def stop_background(self) -> None:
        extension = f"WebExtensionPolicy.getByID('{FIREFOX_ID}').extension"
        await self.browser.inside(f"{extension}.terminateBackground().then(() => true)")

    async def scheme(self, tab: str, scheme: str) -> None:
        number = {"dark": 0, "light": 1}[scheme]
        name = "layout.css.prefers-color-scheme.content-override"
        await self.browser.inside(f"Services.prefs.setIntPref('{name}', {number})")
        media = f"matchMedia('(prefers-color-scheme: {scheme})').matches"
        await until(lambda: self.evaluate(tab, media))

    async def size(self, tab: str, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        await self.browser.command("browsingContext.setViewport", context=tab, viewport=viewport)
        await until(lambda: self.evaluate(tab, f"innerWidth === {width}"))

    async def picture(self, tab: str) -> bytes:
        shot = await self.browser.command("browsingContext.captureScreenshot", context=tab)
        return base64.b64decode(shot["data"])


class Unready(Exception):
    """A tab could not be looked into, yet or any more."""


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """Look until there is something, and return it; raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while True:
            # A page that goes while it is asked may never answer.
            with contextlib.suppress(Unready, TimeoutError):
                async with asyncio.timeout(ONE_LOOK):
                    if found := await look():
                        return found
            await asyncio.sleep(EVERY)
