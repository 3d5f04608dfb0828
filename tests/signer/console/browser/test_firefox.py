"""The console in a real Firefox: bind, a card, Allow once, Stop; a push that wakes it."""

import asyncio
import base64
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from bunker_client.errors import ClientError
from bunker_core.event import verify
from client.nip07._bidi import Firefox, firefox
from signer.console._stage import CONSOLE, DESK, PHONE, Stage, paired, sign, stage
from signer.console.browser._autopush import Autopush, autopush
from support.require import need

pytestmark = pytest.mark.asyncio(loop_scope="module")
SIZES: Final = {"phone": PHONE, "desk": DESK}


class Page:
    """A tab with the console."""

    def __init__(self, browser: Firefox, tab: str) -> None:
        self._browser = browser
        self.tab = tab

    async def go(self, url: str) -> None:
        await self._browser.command(
            "browsingContext.navigate", context=self.tab, url=url, wait="complete"
        )

    async def js(self, expression: str) -> Any:
        return await self._browser.evaluate(self.tab, expression)

    async def until(self, expression: str) -> Any:
        return await self._browser.until(lambda: self.js(expression))

    async def text(self) -> str:
        return str(await self.js("document.body.innerText"))

    async def tap(self, button: str) -> None:
        """Press the button of that name, once it can be pressed, by a real pointer."""
        found = (
            f"[...document.querySelectorAll('button')].find((b) => b.innerText.trim() === "
            f"{json.dumps(button)} && !b.matches(':disabled'))"
        )
        place = (
            f"((b) => {{ if (!b) return null; b.scrollIntoView({{block: 'center'}});"
            f" const r = b.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2] }})({found})"
        )
        x, y = map(int, await self.until(place))
        move = {"type": "pointerMove", "x": x, "y": y}
        actions = [move, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        finger = {"type": "pointer", "id": "finger", "actions": actions}
        await self._browser.command("input.performActions", context=self.tab, actions=[finger])

    async def size(self, viewport: dict[str, int]) -> None:
        await self._browser.command(
            "browsingContext.setViewport", context=self.tab, viewport=viewport
        )

    async def picture(self, name: str) -> bytes:
        """Return what is to be seen, as PNG; kept where BUNKER_TEST_PICTURES says."""
        shot = await self._browser.command("browsingContext.captureScreenshot", context=self.tab)
        png = base64.b64decode(shot["data"])
        if folder := os.environ.get("BUNKER_TEST_PICTURES"):
            await asyncio.to_thread((Path(folder) / f"firefox-{name}.png").write_bytes, png)
        return png


def program() -> str:
    """Return the path of Firefox; skip without it."""
    path = shutil.which("firefox-esr") or shutil.which("firefox")
    need(path, "Firefox")
    return str(path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Autopush]:
    """A push service."""
    async with autopush() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(
    service: Autopush, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Firefox]:
    """A Firefox with a profile and a push service of its own."""
    home = tmp_path_factory.mktemp("firefox")
    async with firefox(program(), home, service.preferences) as running:
        yield running


@asynccontextmanager
async def bound(browser: Firefox, on: Stage) -> AsyncIterator[Page]:
    """Open a tab of a browser that was never here, the size of a phone, and bind it by a link."""
    made = await browser.command("browser.createUserContext")
    context = made["userContext"]
    tab = await browser.command("browsingContext.create", type="tab", userContext=context)
    page = Page(browser, str(tab["context"]))
    try:
        await page.size(PHONE)
        await page.go(await on.new_link())
        await page.tap("Bind")
        await page.until("location.pathname === '/requests' && document.readyState === 'complete'")
        yield page
    finally:
        await browser.command("browser.removeUserContext", userContext=context)


FITS: Final = "document.documentElement.scrollWidth <= window.innerWidth"


async def test_a_request_is_approved_in_firefox(browser: Firefox, on: Stage) -> None:
    """What the desktop asks for appears by itself, is read, and a tap there signs it."""
    async with bound(browser, on) as page, paired(on, "Coracle") as app:
        assert "Nothing is waiting" in await page.text()
        signing = sign(app, "Hello from the desk")
        await page.until("document.querySelector('.question h1')?.innerText === 'Post a note'")
        assert await page.js("document.querySelector('.who strong').innerText") == "Coracle"
        assert await page.js("document.querySelector('.content').innerText") == (
            "Hello from the desk"
        )
        await page.until("document.querySelector('fieldset:not(:disabled)')?.matches('*')")
        await page.until("document.getAnimations().length === 0")
        for name, viewport in SIZES.items():
            await page.size(viewport)
            await page.picture(f"card-{name}")
            assert await page.until(FITS), name
        await page.tap("Allow once")
        event = await signing
        assert verify(event).content == "Hello from the desk"
        await page.until("document.body.innerText.includes('Allowed')")


async def test_stop_in_firefox(browser: Firefox, on: Stage) -> None:
    """The Stop page has its buttons in view at both sizes; Pause refuses, Resume ends that."""
    async with bound(browser, on) as page, paired(on) as app:
        await page.go(f"{on.origin}/stop")
        for name, viewport in SIZES.items():
            await page.size(viewport)
            await page.picture(f"stop-{name}")
            assert await page.until(FITS), name
            for word in ("Pause", "Lock", "Panic"):
                assert word in await page.text()
        await page.tap("Pause")
        await page.until("document.body.innerText.includes('Resume')")
        with pytest.raises(ClientError, match="paused"):
            await sign(app)
        await page.tap("Resume")
        await page.until("!document.body.innerText.includes('Resume')")


SHOWN: Final = (
    "navigator.serviceWorker.ready.then((r) => r.getNotifications())"
    ".then((all) => all.map((n) => [n.title, n.body.split('\\n')[0], n.data.path]))"
)


async def test_a_push_wakes_firefox(
    browser: Firefox, service: Autopush, relay_url: str, folder: Path
) -> None:
    """Signer, push service, worker: what the signer encrypted is shown, and goes when answered."""
    async with (
        stage(relay_url, folder, (*CONSOLE, "--console-push", service.origin)) as on,
        bound(browser, on) as page,
    ):
        await page.go(f"{on.origin}/devices")
        await page.until("document.querySelector('#wake').hidden === false")
        await page.js("document.querySelector('#wake button').click()")
        await page.until("document.querySelector('form[action=\"/push/forget\"]') !== null")
        async with paired(on, "Habla") as app:
            signing = sign(app, "a secret draft", kind=30024)
            ((title, body, path),) = await page.until(f"{SHOWN}.then((a) => a.length && a)")
            assert (title, body) == ("Habla", "Save a draft article")
            await page.go(f"{on.origin}{path}")
            await page.tap("Allow once")
            assert (await signing).content == "a secret draft"
            await page.until(f"{SHOWN}.then((a) => a.length === 0)")
