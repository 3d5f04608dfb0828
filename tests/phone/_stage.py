"""The phone on stage: a relay, the page's server, and Chromium at the size of a phone.

The authenticator is DevTools' virtual one, with the PRF extension; everything else is what people
have. A page that fetches anything from elsewhere, or breaks its own CSP, fails its test.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bunker_client import RemoteSigner
from bunker_core.nips.nip46 import ClientMetadata
from bunker_phone.app import Host, create_app
from bunker_phone.phones import MAX_PHONES, Phones
from bunker_phone.server import listen, server
from bunker_phone.site import NotBuilt, Site, load
from signer.console._stage import BUILT_IN, PHONE, TIMEOUT, watched
from support.require import need

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, CDPSession, Page

PHONE_FOLDER = Path(__file__).parents[2] / "packages" / "phone"
PASSPHRASE = "correct horse battery staple"
AUTHENTICATOR = {**BUILT_IN, "hasPrf": True}


def built() -> Site:
    """Return the page as it was built; skip without it."""
    try:
        return load()
    except NotBuilt as missing:
        need(False, str(missing))
        raise


@dataclass(slots=True)
class Served:
    """The page's server, in this process; `site` may be changed while it runs."""

    origin: str
    relay: str
    phones: Phones
    site: Site
    joined: list[str]

    @property
    def link(self) -> str:
        """One more link that lets a phone join; those of earlier tests make room for it."""
        for old in self.phones.all()[: 1 - MAX_PHONES]:
            self.phones.remove(old.pubkey)
        return f"{self.origin}/#join={self.phones.new_link()}"


@asynccontextmanager
async def serving(data: Path, relay: str, on_join: Callable[[str], None] | None = None) -> Any:
    """Serve the page for `relay` on a free port of localhost."""
    site = built()
    listener = listen("127.0.0.1", 0)
    origin = f"http://localhost:{listener.getsockname()[1]}"
    joined: list[str] = []

    def join(pubkey: str) -> None:
        joined.append(pubkey)
        if on_join is not None:
            on_join(pubkey)

    phones = Phones(data)
    running = server(create_app(site, phones, Host(origin, (relay,), join)), signals=False)
    task = asyncio.create_task(running.serve(sockets=[listener]))
    try:
        yield Served(origin, relay, phones, site, joined)
    finally:
        running.should_exit = True
        await task
        listener.close()


@dataclass(slots=True)
class Phone:
    """A browser profile of the size of a phone, with its page."""

    origin: str
    context: "BrowserContext"
    page: "Page"
    devtools: "CDPSession"
    faults: list[str] = field(default_factory=list)

    async def show(self, name: str) -> None:
        """Go to one of the sections, and wait until it is there."""
        await self.page.get_by_role("link", name=name, exact=True).click()
        await self.shown(name.lower())

    async def go(self, name: str) -> None:
        """Open a page by its address, and wait until it is there."""
        await self.page.goto(f"{self.origin}/#{name}")
        await self.shown(name)

    async def shown(self, name: str) -> None:
        """Wait until what is to be seen is the page of that name, and no other any more."""
        await self.page.locator(f"main[data-page={name}]").wait_for()

    async def pinned(self) -> None:
        """Wait until the worker has the page's files: from the next visit on they are its own."""
        await self.page.evaluate("navigator.serviceWorker.ready.then(() => true)")

    async def first_run(self, link: str, *, passkey: bool = True) -> None:
        """Open the link, make a key, seal it, save the recovery copy, join the relay."""
        page = self.page
        await page.goto(link)
        await page.get_by_role("button", name="Make a new key").click()
        await self.seal(passkey=passkey)
        await self.save_recovery()
        await page.get_by_text("This phone is the relay’s signer now.").wait_for()

    async def seal(self, *, passkey: bool = True) -> None:
        """Seal the key that was made or brought."""
        page = self.page
        if passkey:
            await page.get_by_role("button", name="Seal with a passkey").click()
            return
        await page.locator("details:not([open])", has_text="Or with a passphrase").click()
        await page.get_by_label("Passphrase (12 characters or more)").fill(PASSPHRASE)
        await page.get_by_label("The same again").fill(PASSPHRASE)
        await page.get_by_role("button", name="Seal with the passphrase").click()

    async def save_recovery(self) -> tuple[str, str]:
        """Make the copy, save the file, type its passphrase again; return both."""
        page = self.page
        field_ = page.get_by_label("Passphrase of the copy")
        passphrase = await field_.input_value()
        await page.get_by_role("button", name="Make the copy").click()
        async with page.expect_download() as downloading:
            await page.get_by_role("link", name="Save the file").click()
        download = await downloading.value
        copy = Path(await download.path()).read_text().strip()
        await page.get_by_label("Now type the passphrase").fill(passphrase)
        await page.get_by_role("button", name="Check, and begin").click()
        return copy, passphrase

    async def pair_uri(self, profile: str = "ask", *, key: str | None = None) -> str:
        """Let the phone show a code for one app, of `key` if it has several; return its address."""
        page = self.page
        await self.go("pair")
        if key is not None:
            keys = page.locator("label", has_text=re.compile("^Key"))
            await keys.get_by_role("combobox").select_option(key)
        await page.get_by_label("What it may do without asking").select_option(profile)
        await page.get_by_role("button", name="Show the code").click()
        return await page.locator("#bunker-uri").input_value()

    async def asked(self) -> None:
        """Wait until a question is shown."""
        await self.page.get_by_role("button", name="Allow once").wait_for()

    async def allow(self) -> None:
        """Answer the question, and wait until the page says what came of it."""
        await self.answer("Allow once")

    async def deny(self) -> None:
        """Refuse, and wait until the page says so."""
        await self.answer("Deny")

    async def answer(self, button: str) -> None:
        """Tap; what is said afterwards stands above what is true then (page/requests.js)."""
        await self.tap(button)
        await self.page.locator("#said .banner").wait_for()

    async def tap(self, button: str) -> None:
        """Press a button, and leave to the test what comes of it."""
        await self.page.get_by_role("button", name=button).click()


@asynccontextmanager
async def phone(
    browser: "Browser", served: Served, *, prf: bool = True, **options: Any
) -> AsyncIterator[Phone]:
    """Open a browser profile that has no key yet; fail on whatever the page must not do."""
    options.setdefault("viewport", PHONE)
    options.setdefault("locale", "en-GB")
    options.setdefault("accept_downloads", True)
    context = await browser.new_context(**options)
    context.set_default_timeout(TIMEOUT)
    faults = watched(context, served.origin, served.relay.replace("ws", "http", 1), "blob:")
    try:
        page = await context.new_page()
        page.on(
            "websocket",
            lambda socket: (
                None
                if socket.url.startswith(served.relay)
                else faults.append(f"connected {socket.url}")
            ),
        )
        devtools = await context.new_cdp_session(page)
        await devtools.send("WebAuthn.enable")
        settings = {**AUTHENTICATOR, "hasPrf": prf}
        await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": settings})
        running = Phone(served.origin, context, page, devtools, faults)
        yield running
        assert faults == []
    finally:
        await context.close()


@asynccontextmanager
async def app_of(uri: str, name: str = "Notes") -> AsyncIterator[RemoteSigner]:
    """Yield an app that pairs by `uri`."""
    about = ClientMetadata(name, "https://notes.example")
    async with RemoteSigner.from_uri(uri, metadata=about) as app:
        yield app


def sign(app: RemoteSigner, content: str = "Signed by the phone", **event: Any) -> Any:
    """Start asking for a signature; returns the task."""
    template = {"kind": 1, "content": content, "created_at": int(time.time()), **event}
    return asyncio.create_task(app.request_signature(template, timeout=60.0))
