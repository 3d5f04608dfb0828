"""Firefox over WebDriver BiDi, as much of it as the tests here need: one WebSocket, no driver."""

import asyncio
import contextlib
import itertools
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

ONE_LOOK: Final = 5.0  # seconds
PATIENCE: Final = 90.0  # seconds: a machine may be busy with other tests
EVERY: Final = 0.05  # seconds between two looks
_LISTENS: Final = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
# A browser of a test asks nobody for anything, does nothing ahead of its being wanted, and a tab
# behind another is no slower.
_PREFERENCES: Final = """
user_pref("remote.prefs.recommended", true);
user_pref("remote.active-protocols", 1);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("app.update.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("dom.min_background_timeout_value", 4);
user_pref("dom.min_background_timeout_value_without_budget_throttling", 4);
user_pref("layout.throttled_frame_rate", 60);
user_pref("ui.prefersReducedMotion", 1);
user_pref("accessibility.force_disabled", 1);
user_pref("browser.startup.page", 0);
user_pref("browser.newtabpage.enabled", false);
user_pref("browser.newtab.preload", false);
user_pref("browser.ml.enable", false);
user_pref("browser.translations.enable", false);
user_pref("browser.pagethumbnails.capturing_disabled", true);
user_pref("browser.sessionstore.interval", 3600000);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("dom.ipc.processCount", 1);
user_pref("dom.ipc.processCount.webIsolated", 1);
user_pref("dom.ipc.keepProcessesAlive.web", 1);
user_pref("dom.ipc.processPrelaunch.enabled", false);
user_pref("media.rdd-process.enabled", false);
user_pref("media.utility-process.enabled", false);
user_pref("media.gmp-provider.enabled", false);
"""


class BidiError(Exception):
    """The browser refused a command."""


class Firefox:
    """A running Firefox. Contexts are its tabs and windows, by their ids."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def command(self, method: str, **params: Any) -> Any:
        """Run one command; raises BidiError or TimeoutError."""
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(PATIENCE):
            return await future

    async def read(self) -> None:
        """Take answers until the browser goes."""
        async for frame in self._socket:
            said = json.loads(frame)
            future = self._waiting.pop(said.get("id"), None)
            if future is None or future.done():
                continue
            if said["type"] == "error":
                future.set_exception(BidiError(said["message"]))
            else:
                future.set_result(said["result"])

    async def inside(self, expression: str) -> Any:
        """Return what an expression gives in the browser's own window, where it may do all."""
        tree = await self.command("browsingContext.getTree", **{"moz:scope": "chrome"})
        return await self.evaluate(tree["contexts"][0]["context"], expression)

    async def contexts(self) -> list[dict[str, Any]]:
        """Return the tabs and windows that there are."""
        found: list[dict[str, Any]] = (await self.command("browsingContext.getTree"))["contexts"]
        return found

    async def open(self, url: str) -> str:
        """Open a tab; return its context."""
        made = await self.command("browsingContext.create", type="tab")
        context = str(made["context"])
        await self.go(context, url)
        return context

    async def go(self, context: str, url: str) -> None:
        """Load a page in a tab, also the one that is there."""
        await self.evaluate(context, "window.old = true")
        # Firefox now and then does not say that a page is complete; the page itself does.
        await self.command("browsingContext.navigate", context=context, url=url, wait="none")
        there = f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'"
        await self.until(lambda: self.evaluate(context, f"!window.old && {there}"))

    async def close(self, context: str) -> None:
        """Close a tab or window."""
        await self.command("browsingContext.close", context=context)

    async def evaluate(self, context: str, expression: str) -> Any:
        """Return what an expression, or its promise, gives, by way of JSON."""
        text = f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))"
        result = await self.command(
            "script.evaluate", expression=text, target={"context": context}, awaitPromise=True
        )
        if result["type"] == "exception":
            raise BidiError(result["exceptionDetails"]["text"])
        return json.loads(result["result"]["value"])

    async def until(self, look: Callable[[], Awaitable[Any]]) -> Any:
        """Look until there is something, and return it; raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while True:
                # A window is still coming up, or went while it was asked and gave no answer.
                with contextlib.suppress(BidiError, TimeoutError):
                    async with asyncio.timeout(ONE_LOOK):
                        if found := await look():
                            return found
                await asyncio.sleep(EVERY)


@asynccontextmanager
async def firefox(program: str, home: Path, preferences: str = "") -> AsyncIterator[Firefox]:
    """Run Firefox with a home and a profile of its own; it is gone when the context ends.

    A profile of an earlier run is used again; `preferences` are further lines of its user.js.
    """
    profile = home / "profile"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "user.js").write_text(_PREFERENCES + preferences)
    process = await asyncio.create_subprocess_exec(
        *(program, "--headless", "--no-remote", "--profile", str(profile)),
        *("--remote-debugging-port", "0", "--remote-allow-system-access"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "HOME": str(home),
            "MOZ_HEADLESS": "1",
            "MOZ_DISABLE_AUTO_SAFE_MODE": "1",
        },
        start_new_session=True,
    )
    assert process.stderr is not None
    draining: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            found = None
            while found is None:
                line = await process.stderr.readline()
                assert line, "Firefox ended"
                found = _LISTENS.search(line.decode(errors="replace"))
        draining = asyncio.create_task(process.stderr.read())
        async with connect(f"{found[1]}/session", max_size=None, proxy=None) as socket:
            browser = Firefox(socket)
            reading = asyncio.create_task(browser.read())
            await browser.command("session.new", capabilities={})
            try:
                yield browser
            finally:
                with contextlib.suppress(BidiError, TimeoutError):
                    await browser.command("browser.close")
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await process.wait()
        if draining is not None:
            await draining
