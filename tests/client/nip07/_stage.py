"""The extension on stage: a browser with the built files, a web site, the user's hand."""

import asyncio
import contextlib
import importlib.util
import json
import shutil
import subprocess
import threading
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bunker_client.nip07 import install as module
from bunker_core.event import parse_event, verify
from client.nip07._bidi import EVERY, PATIENCE, firefox
from client.nip07._browsers import (
    FIREFOX_PREFERENCES,
    Browser,
    Chromium,
    FirefoxBrowser,
    Unready,
    until,
)
from signer.console._stage import FLAGS, chromium
from support.require import need

EXTENSION = Path(module.__file__).parent / "extension"
PEER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
NAMES = ("chromium", "firefox")
REACTION = "window.nostr.signEvent({kind: 7, content: '+', tags: []})"
# What no test has a standing answer for.
FORTUNE = "window.nostr.signEvent({kind: 1077, content: '', tags: []})"
DENIED = "refused: denied: the user does not allow it"
NOTE = "window.nostr.signEvent({kind: 1, content: 'hi', tags: [], created_at: 1790000000})"
PAGE = """<!doctype html><meta charset="utf-8"><title>An app</title>
<script>window.early = typeof window.nostr</script><p>An app</p><iframe src="/inner"></iframe>"""


@dataclass(slots=True)
class Stage:
    """A browser with the extension, and a user before it."""

    name: str
    browser: Browser
    folder: Path
    restart: Callable[[], Awaitable[None]]  # end the browser and start it again
    tab: Any = None  # which one test after the other has a site in

    async def visit(self, url: str) -> Any:
        """Load a page in the tab that the tests share; return the tab."""
        if self.tab is None:
            self.tab = await self.browser.open(url)
        else:
            await self.browser.go(self.tab, url)
        return self.tab

    async def call(self, tab: Any, expression: str) -> Any:
        """Evaluate in a page; an error comes as its text."""
        text = f"Promise.resolve().then(() => {expression})"
        return await self.browser.evaluate(tab, f"{text}.catch((e) => 'refused: ' + e.message)")

    async def prompt(self) -> Any:
        """Return the window with the question, once its buttons can be pressed."""

        async def ready() -> Any:
            window = await self.browser.find("prompt.html")
            shown = "!(document.querySelector('button')?.disabled ?? true)"
            return window if window and await self.browser.evaluate(window, shown) else None

        return await until(ready)

    async def press(self, window: Any, button: str) -> None:
        """Press a button of a question, once it can be, and wait until its window is gone.

        Pressed after the call has come back: what fails was not pressed, since its window was on
        its way out, and then the question is in another one.
        """
        click = f"""((b) => !!b && !b.disabled && !!setTimeout(() => b.click()))(
            document.querySelector('button[value={button}]'))"""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if await self.browser.evaluate(window, click):
                        break
                except Unready:
                    window = await self.prompt()
                await asyncio.sleep(EVERY)
        await self.gone(window)

    async def gone(self, window: Any) -> None:
        """Wait until a window is closed, so that no question is looked for in it."""

        async def closed() -> bool:
            return not await self.browser.there(window)

        await until(closed)

    async def no_prompt(self) -> None:
        """Wait until no question is shown."""

        async def none() -> bool:
            return await self.browser.find("prompt.html") is None

        await until(none)

    async def answered(self, tab: Any, expression: str, button: str) -> Any:
        """Call, answer the question in its window, return what the page gets."""
        task = asyncio.create_task(self.call(tab, expression))
        await self.press(await self.asked_by(task), button)
        return await task

    async def asked_by(self, task: "asyncio.Task[Any]") -> Any:
        """Return the window with the question of a call; fail if it is answered without one."""
        asking = asyncio.create_task(self.prompt())
        await asyncio.wait([asking, task], return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            asking.cancel()
            raise AssertionError(f"no question was asked: {task.result()}")
        return asking.result()

    async def enter(self, window: Any) -> None:
        """Press Enter in a question and wait until its window is gone."""
        pressing = asyncio.create_task(self.browser.type(window, "\n"))
        try:
            await self.gone(window)
        finally:
            pressing.cancel()  # what went with its window gives no answer

    async def settle(self) -> None:
        """Wait for the settings that come up after the installation.

        Firefox shows them in the tab in front if that is empty still, as a test's is at first.
        """
        await until(lambda: self.browser.find("options.html"))

    async def options(self) -> Any:
        """Return the settings' page, which came up after the installation, loaded anew."""
        tab = await until(lambda: self.browser.find("options.html"))
        reload = "window.old = !!setTimeout(() => location.reload())"
        await until(lambda: self.browser.evaluate(tab, reload))
        await until(lambda: self.browser.evaluate(tab, "!window.old && !!document.forms"))
        await self.see(tab, "h1")
        return tab

    async def tell(self, kind: str, **fields: Any) -> Any:
        """Send the background what the extension's own pages send; return its result."""
        tab = await until(lambda: self.browser.find("options.html"))
        message = json.dumps({"type": kind, **fields})
        # A background that is ending takes a message along: the next one gets its answer.
        sent = f"chrome.runtime.sendMessage({message}).catch(() => undefined)"
        reply = await until(lambda: self.browser.evaluate(tab, f"globalThis.chrome && {sent}"))
        assert "error" not in reply, reply
        return reply.get("result")

    async def see(self, tab: Any, selector: str) -> Any:
        """Wait until a page has an element; return its text."""
        look = f"document.querySelector({json.dumps(selector)})?.innerText"
        return await until(lambda: self.browser.evaluate(tab, look))

    async def fill(self, tab: Any, selector: str, text: str) -> None:
        """Write into a field, once it is there."""
        write = f"""((field) => !!field && ((field.value = {json.dumps(text)}), true))(
            document.querySelector({json.dumps(selector)}))"""
        await until(lambda: self.browser.evaluate(tab, write))

    async def click(self, tab: Any, label: str) -> None:
        """Press the button of that name, once it can be pressed."""
        press = f"""((b) => !!b && !b.click())([...document.querySelectorAll('button')]
            .find((b) => b.textContent === {json.dumps(label)} && !b.disabled))"""
        await until(lambda: self.browser.evaluate(tab, press))

    async def said(self, tab: Any) -> str:
        """Wait until the settings' page says how something went; fail if it went wrong."""
        text = str(await self.see(tab, "#said .good, #said .bad"))
        assert await self.browser.evaluate(tab, "!document.querySelector('#said .bad')"), text
        return text

    async def allow_all(self, tab: Any) -> None:
        """Grant a site everything that the tests of libraries ask, as its user would one by one."""
        me = await self.always(tab, "window.nostr.getPublicKey()")
        note = "window.nostr.signEvent({kind: 1, content: '', tags: [], created_at: 1})"
        await self.always(tab, note)
        payload = await self.always(tab, f"window.nostr.nip44.encrypt('{me}', 'x')")
        await self.always(tab, f"window.nostr.nip44.decrypt('{me}', '{payload}')")

    async def always(self, tab: Any, expression: str) -> Any:
        """Call; if there is a question, the answer is *Always allow*."""
        task = asyncio.create_task(self.call(tab, expression))
        while not task.done():
            if await self.browser.find("prompt.html"):
                await self.press(await self.asked_by(task), "always")
                break
            await asyncio.wait([task], timeout=EVERY)
        return await task

    async def state(self) -> Any:
        """Return what the extension's own pages are told."""
        return await self.tell("state")


async def check_refusals(stage: Stage, page: Any) -> None:
    """Hold a reaction to the ways of a no: by a button, by closing the window, for good."""
    assert await stage.answered(page, REACTION, "deny") == DENIED
    task = asyncio.create_task(stage.call(page, REACTION))
    await stage.browser.close(await stage.asked_by(task))
    assert await task == DENIED
    assert await stage.answered(page, REACTION, "never") == DENIED
    assert await stage.call(page, REACTION) == DENIED  # without a question


async def check_every_method(stage: Stage, page: Any, pubkey: str) -> None:
    """Each method of NIP-07 works after its own question; `page` may do nothing yet."""
    assert await stage.answered(page, "window.nostr.getPublicKey()", "always") == pubkey
    event = verify(parse_event(await stage.answered(page, NOTE, "once")))
    assert (event.pubkey, event.content, event.created_at) == (pubkey, "hi", 1790000000)
    for name in ("nip44", "nip04"):
        to = f"window.nostr.{name}.encrypt('{PEER}', 'for you')"
        payload = await stage.answered(page, to, "hour")
        back = f"window.nostr.{name}.decrypt('{PEER}', '{payload}')"
        assert await stage.answered(page, back, "once") == "for you"
    assert await stage.call(page, "window.nostr.getPublicKey()") == pubkey  # not asked again
    assert await stage.call(page, "window.nostr.getRelays()") == {}


def built() -> Path:
    """Return the folder of the built extension; skip without it."""
    need((EXTENSION / "manifest.json").is_file(), "make extension (Node.js 20)")
    return EXTENSION


def packer() -> Any:
    """Return the module that packs the extension."""
    path = Path(__file__).parents[3] / "packages/client/extension/pack.py"
    spec = importlib.util.spec_from_file_location("pack", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bundled(source: Path) -> str:
    """Return a script with the packages that it imports."""
    esbuild = Path(__file__).parents[3] / "packages/phone/node_modules/.bin/esbuild"
    need(esbuild.is_file(), "make extension (npm)")
    command = [str(esbuild), "--bundle", "--format=esm", "--log-level=error", str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@asynccontextmanager
async def staged(name: str, folder: Path, extension: Path) -> AsyncIterator[Stage]:
    """Run a browser with the extension of a folder or a packed file.

    Firefox keeps a packed one, so that it is there when it is started again.
    """
    async with AsyncExitStack() as running:

        async def start() -> Browser:
            return await running.enter_async_context(_running(name, folder, extension))

        async def restart() -> None:
            await running.aclose()
            stage.browser, stage.tab = await start(), None

        stage = Stage(name, await start(), folder, restart)
        yield stage


@asynccontextmanager
async def _running(name: str, folder: Path, extension: Path) -> AsyncIterator[Browser]:
    if name == "firefox":
        program = shutil.which("firefox-esr") or shutil.which("firefox")
        need(program, "Firefox")
        packed = not extension.is_dir()
        kept = packed and (folder / "profile" / "extensions").is_dir()
        async with firefox(str(program), folder, FIREFOX_PREFERENCES) as browser:
            if not kept:
                data = {"type": "archivePath" if packed else "path", "path": str(extension)}
                how = {"extensionData": data, "moz:permanent": packed}
                await browser.command("webExtension.install", **how)
            yield FirefoxBrowser(browser)
        return
    program = chromium()
    from playwright.async_api import async_playwright

    if not extension.is_dir():
        with zipfile.ZipFile(extension) as archive:
            archive.extractall(folder / "unpacked")
        extension = folder / "unpacked"
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            str(folder / "profile"),
            executable_path=program,
            headless=True,
            locale="en-GB",
            args=[
                *FLAGS,
                "--host-resolver-rules=MAP notes.example 127.0.0.1",
                f"--load-extension={extension}",
                f"--disable-extensions-except={extension}",
            ],
            ignore_default_args=["--disable-extensions"],
        )
        context.set_default_timeout(PATIENCE * 1000)
        try:
            yield Chromium(context)
        finally:
            await context.close()


@contextmanager
def site(pages: dict[str, tuple[str, str]] | None = None) -> Iterator[str]:
    """Serve a web site: one page, the same in a frame, and `pages`: type and text by path."""
    served = {"/": ("text/html", PAGE), "/inner": ("text/html", "<!doctype html>"), **(pages or {})}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, text = served.get(self.path, ("text/html", "<!doctype html>"))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            if self.path == "/opaque":
                self.send_header("Content-Security-Policy", "sandbox allow-scripts")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
